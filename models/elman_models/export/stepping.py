"""`elman_models.pack_step`: a bundle from a module that is one time step, proved against a loop over it."""

import inspect
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.export import ExportedProgram

from elman_models.comparison import TOLERANCE
from elman_models.export.assembly import Assembled, assemble
from elman_models.export.capture import Capture, captured, evaluating, plain_module
from elman_models.export.lengths import names_of
from elman_models.export.packing import Words, called, named_leaves, no_tensors
from elman_models.export.proof import SHAPES, Run, laid_out, prove, random_like, read_out
from elman_models.export.refusals import ExportError
from elman_models.export.report import PackedModule
from elman_models.export.sequences import Sequences, inputs_of
from elman_models.export.sizes import shape_of
from elman_models.export.target import Proved, Target
from elman_models.export.tensors import Argument, filled, flatten, named_arguments
from elman_models.export.traced import Role, Traced
from elman_models.export.translation import NeedsCells, Translation


def pack_step(
    module: nn.Module,
    inputs: object,
    state: object,
    *,
    out: str | os.PathLike[str],
    name: str,
    output_names: Sequence[str] | None = None,
    initial: object = None,
    context: Sequence[str] = (),
    version: str = "1",
    description: str = "",
    metadata: Mapping[str, str] | None = None,
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
    quiet: bool = False,
) -> PackedModule:
    """Makes a bundle of a module that is one time step, and proves that stepping it gives what a loop over it gives.

    Args:
        module: `module(*inputs, *state)`, or `module(*inputs, state)`, gives its outputs and, after them, the next
            state; or the next state alone, whose first tensor is then the output, too.
        inputs: a tensor or a tuple of them: one time step of a batch, [B, ...].
        state: a tensor, a tuple, tuples within it, or a dict that names them; [B, ...], or [layers, B, ...] of a stack.
        out: the bundle's folder, new or empty.
        name: the model's.
        output_names: of what the module gives, the state aside.
        initial: what sequences begin with, like `state`, without the batch's axis; None: zeros.
        context: of the inputs those that are one thing for a session, a memory [B, S, ...] that is attended to, say.
        version, description, metadata: of the bundle.
        tolerance: the largest difference that is no error, times max(1, |y|).
        overwrite: replace a bundle that is there.
        quiet: print nothing.

    Raises:
        ExportError: the module cannot be packed: says which line of it, and what to do instead; or what was made of it
            gives something else.
        BundleError: `out` is in use, or cannot be written.
    """
    target = Target(out, tolerance, overwrite=overwrite, quiet=quiet)
    target.check()
    own, words = plain_module(module), Words(name, version, description, metadata)
    with evaluating(own):
        step = _Step.of(own, inputs, state)
        read = replace(captured(own, step.arguments, _find_batch, axes=(0, 1)), context=names_of(context))
        _check_context(read, step)
        begin = _initial(step, initial)
        given = _given(own, read, step)
        outputs, next_states = _divided(given, step, output_names)
        assembled = _assembled(read, step, outputs, next_states, begin, words)
        differences = prove(assembled, _Loop(own, read, step, assembled, begin, next_states).run, SHAPES)
    return target.write(Proved(assembled, differences, left_out=no_tensors(_outputs(given, step))))


@dataclass(frozen=True)
class _Step:
    """How the module is called."""

    arguments: tuple[Argument, ...]
    states: tuple[str, ...]
    """The names of the state's tensors, as they are arguments."""
    keys: tuple[str, ...] = ()
    """Likewise, where they are in the state that was given, if that is a dict."""

    @classmethod
    def of(cls, module: nn.Module, inputs: object, state: object) -> "_Step":
        given = list(inputs) if isinstance(inputs, tuple | list) else [inputs]
        apart = (
            list(state.values())
            if isinstance(state, Mapping)
            else list(state)
            if isinstance(state, tuple | list)
            else [state]
        )
        takes = [p for p in inspect.signature(module.forward).parameters.values() if p.kind is not p.VAR_KEYWORD]
        is_apart = any(p.kind is p.VAR_POSITIONAL for p in takes) or len(takes) >= len(given) + len(apart)
        if is_apart and isinstance(state, Mapping) and len(apart) == 1:
            is_apart = not _takes(module, [*given, state])  # a dict of one, or what is in it
        arguments = named_arguments(module, (*given, *(apart if is_apart else [state])))
        if isinstance(state, Mapping) and is_apart:
            names = [argument.name for argument in arguments[: len(given)]] + [str(key) for key in state]
            arguments = tuple(replace(a, name=n) for n, a in zip(names, arguments, strict=True))
        own = arguments[len(given) :]
        keys = tuple(_keys(state)) if isinstance(state, Mapping) else ()
        return cls(arguments, tuple(name for argument in own for name, _ in argument.leaves()), keys)


def _check_context(read: Capture, step: _Step) -> None:
    inputs = [name for name in read.inputs if name not in step.states]
    for name in read.context:
        if name not in inputs:
            raise ExportError(f"context: expected of {', '.join(inputs)}, got {name}")
    if set(inputs) == set(read.context):
        raise ExportError("context: expected an input besides, which there is one of for each step")


def _takes(module: nn.Module, arguments: list[object]) -> bool:
    try:
        called(module, arguments)
    except Exception:  # noqa: BLE001 - whatever the author's code raises
        return False
    return True


def _keys(state: object, where: str = "") -> Iterator[str]:
    """Where each of its tensors is: `h`, `rnn.0`."""
    parts: Iterable[tuple[object, object]] = ()
    if isinstance(state, Mapping):
        parts = state.items()
    elif isinstance(state, tuple | list):
        parts = enumerate(state)
    else:
        yield where.removeprefix(".")
    for key, part in parts:
        yield from _keys(part, f"{where}.{key}")


def _find_batch(program: ExportedProgram) -> Sequences:
    """The first axis of the first input."""
    tensors = [node for node in inputs_of(program) if isinstance(node.meta.get("val"), torch.Tensor)]
    symbols = {size for node in tensors for size in shape_of(node) if not isinstance(size, int)}
    shape = shape_of(tensors[0])
    batch = shape[0] if shape and shape[0] in symbols else None
    return Sequences(batch, None, frozenset(symbols - {batch}))


def _initial(step: _Step, initial: object) -> dict[str, torch.Tensor]:
    if initial is None:
        return {}
    leaves = [leaf for _, leaf in flatten(initial, "initial")]
    if len(leaves) != len(step.states) or not all(isinstance(leaf, torch.Tensor) for leaf in leaves):
        raise ExportError(f"initial: expected {len(step.states)} tensors like the state's, got {len(leaves)}")
    return {
        name: leaf.detach().cpu()
        for name, leaf in zip(step.states, leaves, strict=True)
        if isinstance(leaf, torch.Tensor)
    }


def _given(module: nn.Module, read: Capture, step: _Step) -> object:
    """What the module gives for the example."""
    if read.sequences.batch is None:
        raise ExportError("inputs: expected one time step of a batch, [B, ...], whose size the module leaves open")
    given = called(module, [argument.value for argument in read.arguments])
    number = len(list(flatten(given, "output")))
    if number < len(step.states):
        raise ExportError(f"module: expected outputs and {len(step.states)} next states, got {number} tensors")
    return given


def _outputs(given: object, step: _Step) -> list[tuple[str, object]]:
    """What the module gives before the next state, by name."""
    leaves = list(flatten(given, "output"))
    leaves = leaves[: len(leaves) - len(step.states)]
    names = [name for name, _ in leaves]
    if len(leaves) == 1 and not isinstance(given, Mapping):
        names = ["output"]
    elif isinstance(given, tuple | list) and len(given) > 1 and isinstance(given[0], tuple | list | Mapping):
        names = [name for name, _ in flatten(given[0], "output")][: len(leaves)]
    return list(zip(names, [leaf for _, leaf in leaves], strict=True))


def _divided(
    given: object, step: _Step, output_names: Sequence[str] | None
) -> tuple[list[tuple[str, int]], dict[str, int]]:
    """Outputs by name and index, and of each state which of what the module gives is its next value."""
    leaves = _outputs(given, step)
    order = _order(step, given)
    next_states = {name: len(leaves) + index for name, index in zip(step.states, order, strict=True)}
    if not leaves:
        return [((output_names or ["output"])[0], 0)], next_states
    return named_leaves(leaves, output_names), next_states


def _order(step: _Step, given: object) -> list[int]:
    """Which of the tensors of the state that the module gives is the next of each: of a dict by its keys."""
    last = given[-1] if isinstance(given, tuple | list) and given else given
    if not step.keys or not isinstance(last, Mapping):
        return list(range(len(step.states)))
    found = list(_keys(last))
    if last is given:  # outputs and state in one dict
        found = found[-len(step.keys) :]
    if sorted(found) != sorted(step.keys):
        raise ExportError(
            f"module: expected a next state of {', '.join(step.keys)}, as the state has, got {', '.join(found)}"
        )
    return [found.index(key) for key in step.keys]


def _assembled(
    read: Capture,
    step: _Step,
    outputs: list[tuple[str, int]],
    next_states: dict[str, int],
    initial: dict[str, torch.Tensor],
    words: Words,
) -> Assembled:
    """With stacks by their plans; where more is done with their states, as cells."""
    try:
        translation = Translation(read, is_whole=False, states=step.states)
        return assemble(translation, read, outputs, next_states, initial, words.fields())
    except NeedsCells:
        translation = Translation(read, is_whole=False, states=step.states, uses_cells=True)
        return assemble(translation, read, outputs, next_states, initial, words.fields())


@dataclass(frozen=True)
class _Loop:
    """The module stepped in a loop, as its author would."""

    module: nn.Module
    read: Capture
    step: _Step
    assembled: Assembled
    initial: Mapping[str, torch.Tensor]
    next_states: Mapping[str, int]

    def run(self, batch: int, length: int) -> Run:
        """On random sequences."""
        examples = {n: leaf for a in self.read.arguments for n, leaf in a.leaves() if isinstance(leaf, torch.Tensor)}
        own = {one.name: one.traced for one in self.assembled.inputs}
        inputs = {
            name: random_like(examples[name], [batch, *self._steps(name, length), *traced.features], traced.value.bound)
            for name, traced in own.items()
            if name not in self.step.states
        }
        states = {name: self._begin(own[name], name, batch, examples[name]) for name in self.step.states}
        steps: list[dict[str, torch.Tensor]] = []
        for t in range(length):
            given = {
                name: laid_out(tensor[:, t] if self._steps(name, length) else tensor, own[name].roles, batch, 1)
                for name, tensor in inputs.items()
            }
            result = called(self.module, filled(self.read.arguments, given | states))
            leaves: list[torch.Tensor] = [leaf for _, leaf in flatten(result, "output")]  # type: ignore[misc]
            states = {name: leaves[index] for name, index in self.next_states.items()}
            steps.append(
                {
                    o.name: read_out(leaves[o.index], o.traced.roles, batch, 1, o.traced.features)
                    for o in self.assembled.outputs
                }
            )
        expected = {name: torch.stack([one[name] for one in steps], 1) for name in steps[0]}
        return Run(inputs, {}, expected, batch, length)

    def _steps(self, name: str, length: int) -> list[int]:
        return [] if name in self.read.context else [length]

    def _begin(self, traced: Traced, name: str, batch: int, example: torch.Tensor) -> torch.Tensor:
        begin = self.initial.get(name)
        axis = traced.roles.index(Role.BATCH)
        if begin is None:
            shape = list(example.shape)
            shape[axis] = batch
            return torch.zeros(shape, dtype=example.dtype)
        return (
            begin.unsqueeze(axis).expand(*begin.shape[:axis], batch, *begin.shape[axis:]).contiguous().to(example.dtype)
        )
