"""What a module takes and gives: tensors within tuples, lists and dicts, each with a name."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from elman_models.export.refusals import ExportError


@dataclass(frozen=True)
class Argument:
    """One argument of `forward`."""

    name: str
    value: object
    """A tensor; or tuples, lists and dicts of tensors and numbers."""
    is_rest: bool = False
    """Whether it is one of those that `forward` takes as `*args`."""

    def leaves(self) -> Iterator[tuple[str, object]]:
        """What is in it, with names, in the order in which torch.export has it."""
        return flatten(self.value, self.name)

    def mapped(self, function: Callable[[object], object]) -> "Argument":
        """The same with `function` of what is in it."""
        return replace(self, value=map_leaves(self.value, function))

    def doubled(self, axis: int) -> "Argument":
        """Tensors of size 1 at that axis twice as long."""

        def twice(leaf: object) -> object:
            if isinstance(leaf, torch.Tensor) and leaf.dim() > axis and leaf.shape[axis] == 1:
                return torch.cat([leaf, leaf], axis)
            return leaf

        return self.mapped(twice)


def named_arguments(module: nn.Module, example: object) -> tuple[Argument, ...]:
    """`example` (a tensor, or a tuple as `forward` takes it) by the names of `forward`'s parameters.

    Raises:
        ExportError: no example, or more arguments than `forward` has.
    """
    given = tuple(example) if isinstance(example, tuple | list) else (example,)
    if not any(isinstance(leaf, torch.Tensor) for value in given for _, leaf in flatten(value, "")):
        raise ExportError("example_inputs: expected a tuple with at least one tensor, as the module takes it")
    names = _parameter_names(module, len(given))
    takes = list(inspect.signature(module.forward).parameters.values())
    rest = next((i for i, one in enumerate(takes) if one.kind is one.VAR_POSITIONAL), len(given))
    return tuple(
        Argument(name, map_leaves(value, _plain), is_rest=index >= rest)
        for index, (name, value) in enumerate(zip(names, given, strict=True))
    )


def _plain(leaf: object) -> object:
    if not isinstance(leaf, torch.Tensor):
        return leaf
    leaf = leaf.detach().cpu()
    if leaf.is_floating_point():
        return leaf.float()
    return leaf if leaf.dtype is torch.bool else leaf.long()


def _parameter_names(module: nn.Module, number: int) -> list[str]:
    names: list[str] = []
    for parameter in inspect.signature(module.forward).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}_{index}" for index in range(number - len(names))]
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
    if number > len(names):
        raise ExportError(f"example_inputs: forward takes {', '.join(names) or 'nothing'}, got {number} arguments")
    return names[:number]


def flatten(value: object, name: str) -> Iterator[tuple[str, object]]:
    """Every tensor, number and None in `value`, with a name: `name_0`, or the key or field."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        for field, part in zip(value._fields, value, strict=True):
            yield from flatten(part, field)
    elif isinstance(value, tuple | list):
        for index, part in enumerate(value):
            yield from flatten(part, f"{name}_{index}")
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from flatten(part, str(key))
    else:
        yield name, value


def map_leaves(value: object, function: Callable[[object], object]) -> object:
    """`value` with `function` of what is in it."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        rebuilt: object = type(value)(*[map_leaves(part, function) for part in value])  # type: ignore[arg-type]
        return rebuilt
    if isinstance(value, tuple | list):
        return type(value)(map_leaves(part, function) for part in value)
    if isinstance(value, Mapping):
        return {key: map_leaves(part, function) for key, part in value.items()}
    return function(value)


def filled(arguments: Sequence[Argument], tensors: Mapping[str, torch.Tensor]) -> list[object]:
    """The arguments with other tensors, by name."""

    def fill(value: object, name: str) -> object:
        names = iter([leaf for leaf, _ in flatten(value, name)])
        return map_leaves(value, lambda leaf: tensors.get(next(names), leaf))

    return [fill(argument.value, argument.name) for argument in arguments]
