"""A recurrence of a .pt2 file: torch's own operation; while it is exported, the one that the translation knows."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import torch

from elman_models.export.refusals import ExportError
from elman_models.from_pt2.operations import RECURRENCES, done, is_in_place, operation
from elman_models.from_pt2.program import Program, Pt2Node, Ref, refs_of

_MODES = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN_TANH", "rnn_relu": "RNN_RELU"}
_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
_ZEROS = ("zeros", "new_zeros", "zeros_like")
_SAME = ("contiguous", "clone", "expand", "to", "_to_copy", "detach")


@dataclass(frozen=True)
class Stack:
    """What one is, of its arguments."""

    node: Pt2Node
    input: Ref
    """The sequences, [T, B, features] or [B, T, features]."""
    initial: tuple[Ref, ...]
    at_zeros: bool
    """Whether the initial state is zeros that the program makes, whatever it is given."""
    num_layers: int
    bidirectional: bool
    batch_first: bool
    bias: bool
    hidden_size: int
    proj_size: int

    def exported(self, x: torch.Tensor, initial: list[torch.Tensor], params: list[torch.Tensor]) -> tuple[object, ...]:
        """The one operation in place of it."""
        output, h_n, c_n = torch.ops.elman_export.stack(
            x,
            initial,
            params,
            _MODES[self.node.op],
            self.hidden_size,
            self.num_layers,
            self.proj_size,
            self.bias,
            self.bidirectional,
            self.batch_first,
        )
        return (output, h_n, c_n) if self.node.op == "lstm" else (output, h_n)

    def sequences(self, given: Mapping[str, object]) -> torch.Tensor:
        """Its input, of what it is given.

        Raises:
            ExportError: not of three axes.
        """
        x = given.get("input")
        if not isinstance(x, torch.Tensor) or x.dim() != 3 or not x.is_floating_point():
            raise ExportError(f"{self.node}: expected an input of floats, of three axes")
        return x

    def of_shapes(self, given: Mapping[str, object]) -> tuple[torch.Tensor, ...]:
        """Empty tensors of the shapes that it gives."""
        x = self.sequences(given)
        directions, size = 1 + self.bidirectional, self.proj_size or self.hidden_size
        batch = x.shape[0 if self.batch_first else 1]
        ends = [x.new_empty((directions * self.num_layers, batch, s)) for s in (size, self.hidden_size)]
        output = x.new_empty((*x.shape[:-1], directions * size))
        return (output, *(ends if self.node.op == "lstm" else ends[:1]))

    def run(self, given: Mapping[str, object]) -> object:
        """Torch's own."""
        return done(self.node, given)

    def fitted(self, given: Mapping[str, object]) -> dict[str, object]:
        """Arguments with an initial state for as many rows as there are."""
        x, hx = self.sequences(given), given.get("hx")
        rows = x.shape[0 if self.batch_first else 1]
        apart = list(hx) if isinstance(hx, list) else [hx]
        fitted = [self._begin(one, x, rows, number) for number, one in enumerate(apart)]
        return {**given, "hx": fitted if isinstance(hx, list) else fitted[0]}

    def _begin(self, given: object, x: torch.Tensor, rows: int, number: int) -> torch.Tensor:
        if not isinstance(given, torch.Tensor):
            raise ExportError(f"{self.node}: hx: expected tensors")
        if self.at_zeros:
            size = self.hidden_size if number else self.proj_size or self.hidden_size
            return x.new_zeros(((1 + self.bidirectional) * self.num_layers, rows, size))
        if given.dim() == 3 and isinstance(given.shape[1], int) and given.shape[1] == 1:
            return given.expand(-1, rows, -1)
        return given


def stacks_of(program: Program) -> dict[str, Stack]:
    """All, by the node's name.

    Raises:
        ExportError: one that torch has not; or that is in training.
    """
    makers = program.makers()
    return {node.name: _stack(program, node, makers) for node in program.nodes if node.op in RECURRENCES}


def _stack(program: Program, node: Pt2Node, makers: Mapping[str, Pt2Node]) -> Stack:
    operation(node)
    changed = {ref.name for other in program.nodes if is_in_place(other) for ref in other.refs()}
    x, initial = node.arguments.get("input"), tuple(refs_of(node.arguments.get("hx")))
    if node.arguments.get("dropout") and _flag(node, "train"):
        raise ExportError(f"{node}: dropout between layers, in training. Instead: export module.eval()")
    if not isinstance(x, Ref) or len(initial) != (2 if node.op == "lstm" else 1):
        raise ExportError(f"{node}: expected an input and its initial states")
    layers, bias, directions = _number(node, "num_layers"), _flag(node, "has_biases"), 1 + _flag(node, "bidirectional")
    weights = [_sizes(program, node, ref) for ref in refs_of(node.arguments.get("params"))]
    each, rest = divmod(len(weights), layers * directions)
    if rest or each not in ((5, 4) if bias else (3, 2)) or (each % 2 and node.op != "lstm"):
        raise ExportError(f"{node}: {len(weights)} weights do not go with {layers} layers")
    hidden, proj = weights[0][0] // _GATES[node.op], weights[each - 1][0] if each % 2 else 0
    zeros = all(_is_zeros(ref.name, makers, changed) for ref in initial)
    found = Stack(node, x, initial, zeros, layers, directions == 2, _flag(node, "batch_first"), bias, hidden, proj)
    _check_sizes(program, found, weights)
    return found


def _sizes(program: Program, node: Pt2Node, ref: Ref) -> tuple[int, ...]:
    """Of floats."""
    told = program.shapes.get(ref.name)
    if told is None or not told.sizes or not told.dtype.is_floating_point:
        raise ExportError(f"{node}: {ref.name}: expected floats whose sizes are told")
    return told.sizes


def _check_sizes(program: Program, stack: Stack, weights: Sequence[tuple[int, ...]]) -> None:
    """As torch.nn would, which torch's own operation leaves to it."""
    node, directions, size = stack.node, 1 + stack.bidirectional, stack.proj_size or stack.hidden_size
    given, rows = _sizes(program, node, stack.input), _GATES[node.op] * stack.hidden_size
    if len(given) != 3:
        raise ExportError(f"{node}: expected an input of three axes, got {list(given)}")
    expected: list[tuple[int, ...]] = []
    for layer in range(stack.num_layers):
        wide = directions * size if layer else given[2]
        one = [(rows, wide), (rows, size), *[(rows,)] * (2 * stack.bias)]
        expected += (one + [(size, stack.hidden_size)] * bool(stack.proj_size)) * directions
    batch = given[0 if stack.batch_first else 1]
    states = [(directions * stack.num_layers, batch, width) for width in (size, stack.hidden_size)]
    got = [*weights, *(_sizes(program, node, ref) for ref in stack.initial)]
    for want, have in zip([*expected, *states], got, strict=False):
        if want != have:
            raise ExportError(f"{node}: expected weights and states of {list(want)}, got {list(have)}")


def _is_zeros(name: str, makers: Mapping[str, Pt2Node], changed: Set[str]) -> bool:
    """Whether it is zeros of the program's own, which stay zeros."""
    node = makers.get(name)
    if node is None or name in changed:
        return False
    if node.op in _ZEROS:
        return True
    source = node.arguments.get("self")
    return node.op in _SAME and isinstance(source, Ref) and _is_zeros(source.name, makers, changed)


def _number(node: Pt2Node, name: str) -> int:
    value = node.arguments.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1024:
        raise ExportError(f"{node}: {name}: expected 1 to 1024, got {value}")
    return value


def _flag(node: Pt2Node, name: str) -> bool:
    value = node.arguments.get(name, False)
    if not isinstance(value, bool):
        raise ExportError(f"{node}: {name}: expected true or false, got {value}")
    return value


__all__ = ["Stack", "stacks_of"]
