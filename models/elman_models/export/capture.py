"""A module exported: its operations with batch and time left open, its weights, its inputs and outputs by name."""

import copy
import linecache
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from traceback import FrameSummary, walk_tb

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node

from elman_models.export.opaque import MaskInside, PackedSequenceInside, opaque_stacks
from elman_models.export.quiet import quiet
from elman_models.export.refusals import ExportError, Place, is_authors, place_of, refusal
from elman_models.export.sequences import Sequences, axes_of, find_sequences, inputs_of, is_stack, stepped_sizes
from elman_models.export.tensors import Argument

_NO_PYTREE = "in output, which is not a known type"
"""What torch.export says of an object that it cannot look into."""
Find = Callable[[ExportedProgram], Sequences]
Closed = Mapping[str, set[int]]
"""By a tensor's name the axes that are of one size."""


@dataclass(frozen=True)
class Capture:
    """An exported module."""

    nodes: tuple[Node, ...]
    """Operations in order."""
    inputs: Mapping[str, Node]
    """The tensors that `forward` takes, by name: `x`, or `hidden_0` and `hidden_1` for a tuple."""
    constants: Mapping[Node, tuple[str, torch.Tensor]]
    """Parameters, buffers and lifted constants, with their names."""
    outputs: tuple[object, ...]
    """What comes out, in the order of `flatten`: a node, a number or None."""
    sequences: Sequences
    arguments: tuple[Argument, ...]
    """The example, of a batch of at least two."""
    open_axes: Closed = field(default_factory=dict)
    """By an input's name the axes that the module takes of any size, and are neither the batch nor the length."""
    stepped_axes: Closed = field(default_factory=dict)
    """Those of them that a stack runs along."""
    context: tuple[str, ...] = ()
    """Of a step: inputs that stay the same for a session."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Of a module that was read from a file: by the submodule's path the part of the file, in words."""

    def part_of(self, node: Node) -> str:
        """The path in `parts` that an operation belongs to; empty: none."""
        stack = node.meta.get("nn_module_stack") or {}
        paths = [str(path).partition("@")[0] for path, _ in stack.values()]
        return next((path for path in reversed(paths) if path in self.parts), "")

    def label_of(self, node: Node) -> str:
        """The part of the module that an operation is in: `encoder.norm`."""
        part = self.part_of(node)
        if part:
            return part
        stack = node.meta.get("nn_module_stack") or {}
        path = str(list(stack.values())[-1][0]) if stack else ""
        return path.partition("@")[0]

    @property
    def stack_labels(self) -> frozenset[str]:
        """Of the recurrent stacks."""
        return frozenset(self.label_of(node) for node in self.nodes if is_stack(node))

    def place_of(self, node: Node) -> Place:
        """The part of the file, or the line of the author's code."""
        path = self.part_of(node)
        return Place(part=self.parts[path]) if path else place_of(node)


def plain_module(module: nn.Module) -> nn.Module:
    """What is inside a wrapper, in evaluation mode, float32, on the CPU; a copy, where it can be copied.

    Raises:
        ExportError: no module.
    """
    if not isinstance(module, nn.Module):
        raise ExportError(f"module: expected a torch.nn.Module, got {type(module).__name__}")
    module = _unwrapped(module)
    try:
        return copy.deepcopy(module).cpu().float().eval()
    except (RuntimeError, TypeError, NotImplementedError) as error:  # weight_norm's old hooks make what can't be copied
        tensors = [t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]
        if any(t.device.type != "cpu" or t.dtype is not torch.float32 for t in tensors):
            raise ExportError(f"module: cannot be copied ({error}); give it on the CPU and in float32") from error
        return module


def _unwrapped(module: nn.Module) -> nn.Module:
    """The author's module of one in torch.compile, DataParallel or DistributedDataParallel."""
    inner = getattr(module, "_orig_mod", None)
    if type(module).__name__ in ("DataParallel", "DistributedDataParallel"):
        inner = module.module
    return _unwrapped(inner) if isinstance(inner, nn.Module) else module


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and back."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def capture(
    module: nn.Module, arguments: Sequence[Argument], batch_first: bool | None, features: Closed | None = None
) -> Capture:
    """`module` as its operations on sequences; `features`: axes that are known to be of one size.

    Raises:
        ExportError: it cannot be exported, or its length or batch is fixed.
    """
    return captured(module, arguments, lambda program: find_sequences(program, batch_first), (0, 1), features)


def captured(
    module: nn.Module, arguments: Sequence[Argument], find: Find, axes: Sequence[int], features: Closed | None = None
) -> Capture:
    """`module` as its operations; where the example is a batch of one, by one of two, along one of `axes`."""
    program = _export(module, arguments, features)
    sequences = find(program)
    if sequences.batch is None:
        arguments, program, sequences = _of_two(module, arguments, find, axes, features) or (
            arguments,
            program,
            sequences,
        )
    names = [name for argument in arguments for name, _ in argument.leaves()]
    others = dict(zip(names, sequences.others_of(program), strict=True))
    stepped = dict(zip(names, axes_of(program, sequences.others & stepped_sizes(program)), strict=True))
    if sequences.others:
        program = _export(module, arguments, others)
        sequences = find(program)
    given = dict(zip(names, inputs_of(program), strict=True))
    tensors = {name: node for name, node in given.items() if isinstance(node.meta.get("val"), torch.Tensor)}
    nodes = tuple(node for node in program.graph.nodes if node.op == "call_function")
    outputs = tuple(program.graph.output_node().args[0])
    return Capture(nodes, tensors, _constants(program), outputs, sequences, tuple(arguments), others, stepped)


def _of_two(
    module: nn.Module, arguments: Sequence[Argument], find: Find, axes: Sequence[int], features: Closed | None
) -> tuple[Sequence[Argument], ExportedProgram, Sequences] | None:
    for axis in axes:
        doubled = [argument.doubled(axis) for argument in arguments]
        try:
            program = _export(module, doubled, features)
            sequences = find(program)
        except ExportError:
            continue
        if sequences.batch is not None:
            return doubled, program, sequences
    return None


def _constants(program: ExportedProgram) -> dict[Node, tuple[str, torch.Tensor]]:
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    found: dict[Node, tuple[str, torch.Tensor]] = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT or spec.target is None:
            continue
        tensor = program.state_dict.get(spec.target, program.constants.get(spec.target))
        if isinstance(tensor, torch.Tensor):
            found[placeholders[spec.arg.name]] = (spec.target, tensor.detach())
    return found


def _export(module: nn.Module, arguments: Sequence[Argument], closed: Closed | None) -> ExportedProgram:
    """With every axis open but those of `closed`, by the leaf's name."""
    shapes = _open_shapes(arguments, closed or {})
    values = tuple(argument.value for argument in arguments)
    try:
        with quiet(), torch.no_grad(), opaque_stacks():
            return torch.export.export(module, values, dynamic_shapes=shapes, strict=False)
    except PackedSequenceInside as error:
        raise refusal(
            raised_at(error),
            "a PackedSequence goes into a stack",
            "give the stack the padded sequences; a bundle runs each row to its own length, without padding",
        ) from error
    except MaskInside as error:
        raise refusal(
            raised_at(error),
            "attention with a mask",
            "give the sequences without padding and without a mask: a bundle runs each row to its own length",
        ) from error
    except ExportError:
        raise  # a module that was read from a file says itself which part of it is wrong
    except Exception as error:  # torch.export raises nearly anything, above all what the module itself raises
        raise _cannot_export(error) from error


def _open_shapes(arguments: Sequence[Argument], closed: Closed) -> tuple[object, ...]:
    """As torch.export takes them: `*args` as one tuple."""
    opened = [_open(argument, closed) for argument in arguments]
    named = [shape for shape, argument in zip(opened, arguments, strict=True) if not argument.is_rest]
    rest = tuple(opened[len(named) :])
    return (*named, rest) if rest else tuple(named)


def _open(argument: Argument, closed: Closed) -> object:
    names = iter([name for name, _ in argument.leaves()])

    def axes(leaf: object) -> object:
        name = next(names)
        if not isinstance(leaf, torch.Tensor):
            return None
        return {axis: Dim.AUTO for axis in range(leaf.dim()) if axis not in closed.get(name, ())}

    return argument.mapped(axes).value


def raised_at(error: BaseException) -> Place:
    """The author's line that an error came from."""
    frames = [FrameSummary(f.f_code.co_filename, line, f.f_code.co_name) for f, line in walk_tb(error.__traceback__)]
    own = [frame for frame in frames if is_authors(frame.filename)]
    if not own:
        return Place()
    code = linecache.getline(own[-1].filename, own[-1].lineno or 0).strip()
    return Place(own[-1].filename, str(own[-1].lineno), code)


def _cannot_export(error: Exception) -> ExportError:
    kind, place = type(error).__name__, raised_at(error)
    first = str(error).strip().partition("\n")[0]
    if "DataDependent" in kind or "data-dependent" in first:
        return refusal(
            place,
            "a branch or a size that depends on the numbers themselves",
            "compute both and choose with torch.where",
        )
    if _NO_PYTREE in first:
        given = first.partition("<class '")[2].partition("'")[0].rpartition(".")[2]
        instead = "a tensor, or a tuple, named tuple, list or dict of tensors"
        if hasattr(torch.distributions, given):
            instead = (
                "its parameters, dist.logits, or dist.mean and dist.stddev, say, of which a caller makes one again"
            )
        return refusal(Place(), f"it gives a {given}", instead)
    return refusal(place, f"torch.export cannot read it: {kind}: {first}")
