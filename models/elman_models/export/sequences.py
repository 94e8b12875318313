"""Which sizes of an exported module are the batch and the length of its sequences."""

from collections.abc import Iterator, Set
from dataclasses import dataclass

import sympy
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node

from elman_models.export.refusals import Place, place_of, refusal
from elman_models.export.sizes import Size, shape_of

LOOP = (
    "a recurrence in torch.nn.RNN, LSTM or GRU instead of the loop; or pack one time step with its state: "
    "elman_models.pack_step"
)
_CELLS = ("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
_MADE = tuple(f"{prefix}{kind}" for prefix in ("", "new_") for kind in ("zeros", "ones", "full"))
STEPPED = (*_CELLS, "stack")
"""What a loop over steps calls in each."""


@dataclass(frozen=True)
class Sequences:
    """The sizes that stay open."""

    batch: sympy.Symbol | None
    """None: the module takes one sequence at a time, without or with an axis of 1 for it."""
    time: sympy.Symbol | None
    """None: the module is one time step."""
    others: frozenset[sympy.Symbol] = frozenset()
    """Sizes of inputs that could be other ones, but are features."""

    def others_of(self, program: ExportedProgram) -> list[set[int]]:
        """The axes of each input whose size is one of those."""
        return axes_of(program, self.others)


def operation_name(node: Node) -> str:
    """`linear` of aten.linear.default; empty where it is none."""
    return str(getattr(node.target, "_opname", "")) if node.op == "call_function" else ""


def inputs_of(program: ExportedProgram) -> list[Node]:
    """The placeholders of what `forward` takes."""
    names = [s.arg.name for s in program.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    return [placeholders[name] for name in names]


def axes_of(program: ExportedProgram, sizes: Set[sympy.Symbol]) -> list[set[int]]:
    """The axes of each input whose size is one of `sizes`, or computed of one."""
    return [
        {axis for axis, size in enumerate(shape_of(node)) if sizes & getattr(size, "free_symbols", set())}
        if isinstance(node.meta.get("val"), torch.Tensor)
        else set()
        for node in inputs_of(program)
    ]


def stepped_sizes(program: ExportedProgram) -> set[sympy.Symbol]:
    """Those that a stack runs along."""
    pairs = [shape_of(node.args[0])[-3:-1] for node in program.graph.nodes if is_stack(node)]
    return {size for pair in pairs for size in pair if isinstance(size, sympy.Symbol)}


def is_stack(node: Node) -> bool:
    """Whether it is a recurrence that was kept whole."""
    return operation_name(node) == "stack" and "elman_export" in str(node.target)


def find_sequences(program: ExportedProgram, batch_first: bool | None) -> Sequences:
    """As the first stack says, whose batch and time are sizes of an input; else a convolution over time; else
    `batch_first` (True unless said otherwise) of the first input.

    Raises:
        ExportError: the length became a constant, or the batch.
    """
    inputs = [node for node in inputs_of(program) if isinstance(node.meta.get("val"), torch.Tensor)]
    symbols = {size for node in inputs for size in shape_of(node) if isinstance(size, sympy.Symbol)}
    batch, time = _of_stacks(program, symbols) or _of_convolutions(program, symbols) or _of_inputs(inputs, batch_first)
    if not isinstance(time, sympy.Symbol):
        raise _fixed_length(program, time)
    if isinstance(batch, int) and batch > 1:
        raise _fixed_batch(program, batch)
    known = batch if isinstance(batch, sympy.Symbol) else None
    return Sequences(known, time, frozenset(symbols - {known, time}))


Pair = tuple[Size | None, Size]


def _of_stacks(program: ExportedProgram, symbols: set[sympy.Symbol]) -> Pair | None:
    found: list[Pair] = []
    for node in program.graph.nodes:
        if not is_stack(node):
            continue
        shape, is_batch_first = shape_of(node.args[0]), bool(node.args[9])
        if len(shape) == 2:
            found.append((None, shape[0]))
        else:
            found.append((shape[0], shape[1]) if is_batch_first else (shape[1], shape[0]))
    whole = [pair for pair in found if pair[1] in symbols and (pair[0] in symbols or pair[0] in (None, 1))]
    return next(iter([*whole, *found]), None)


def _of_convolutions(program: ExportedProgram, symbols: set[sympy.Symbol]) -> Pair | None:
    for node in program.graph.nodes:
        if operation_name(node) == "conv1d":
            shape = shape_of(node.args[0])
            times = symbols.intersection(*(getattr(shape[-1], "free_symbols", set()),))
            if len(shape) == 3 and shape[0] in symbols and len(times) == 1:
                return shape[0], times.pop()
    return None


def _of_inputs(inputs: list[Node], batch_first: bool | None) -> Pair:
    for node in inputs:
        shape = shape_of(node)
        if len(shape) > 1:
            return (shape[0], shape[1]) if batch_first in (None, True) else (shape[1], shape[0])
    return None, shape_of(inputs[0])[0]


def _fixed_length(program: ExportedProgram, length: Size | None) -> Exception:
    place = next(_unrolled(program), None)
    if place is not None:
        return refusal(place, "a loop over time in Python; its length became a constant", LOOP)
    return refusal(
        Place(),
        f"the length of a sequence ({length} in the example) became a constant: something in it is made for one length",
        "x.shape[0] where len(x) is meant, a number for torch.export; a loop goes by elman_models.pack_step",
    )


def _fixed_batch(program: ExportedProgram, batch: int) -> Exception:
    made = [node for node in program.graph.nodes if operation_name(node) in _MADE and batch in shape_of(node)]
    return refusal(
        place_of(made[0]) if made else Place(),
        f"the batch ({batch} in the example) became a constant: something in it is made for one batch",
        "the batch's size read off the input, as in torch.zeros(1, x.size(0), hidden); or leave out an initial state "
        "of zeros",
    )


def _unrolled(program: ExportedProgram) -> Iterator[Place]:
    """Where a loop that was unrolled takes a step: cells first, then steps that are selected one after another."""
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    yield from (place_of(node) for node in nodes if operation_name(node) in _CELLS)
    seen: set[str] = set()
    for node in nodes:
        if operation_name(node) in ("select", "unbind"):
            place = place_of(node)
            if str(place) in seen:
                yield place
            seen.add(str(place))
