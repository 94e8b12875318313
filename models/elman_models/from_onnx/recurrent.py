"""LSTM, GRU and RNN of ONNX as torch's modules, whose gates stand in another order; a GRU with `linear_before_reset=0`
as ours.

ONNX: https://onnx.ai/onnx/operators/onnx__LSTM.html (iofc), onnx__GRU.html (zrh), onnx__RNN.html; torch:
`torch.nn.LSTM` (ifgo), `torch.nn.GRU` (rzn).
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from elman_models.export.reset_before import ResetBeforeGRU
from elman_models.from_onnx.call import OnnxCall
from elman_models.from_onnx.graph import Array, OnnxNode
from elman_models.from_onnx.sizes import Operand, Sizes
from elman_models.spec import MAX_SIZE

RECURRENCES = ("LSTM", "GRU", "RNN")
_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""Of each of torch's gates, which of ONNX's it is."""
_ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_X, _W, _R, _B, _LENGTHS, _H, _C, _P = range(8)


class RecurrentNode(nn.Module):
    """One of RECURRENCES: X [T, B, input] to Y [T, directions, B, hidden], Y_h and, of an LSTM, Y_c [directions, B,
    hidden]; with layout 1 the batch is first in all."""

    def __init__(self, node: OnnxNode, constants: Mapping[str, Array]) -> None:
        """Raises ExportError where torch has no such recurrence."""
        super().__init__()
        self._call = OnnxCall(node, constants)
        self._is_reverse = self._call.text("direction", "forward") == "reverse"
        self._batch_first = bool(self._call.integer("layout", 0))
        weights = [self._weight(index, axes) for index, axes in ((_W, 3), (_R, 3))]
        directions, hidden = self._sizes(*weights)
        self._check(directions)
        bias = self._bias((directions, 2 * weights[0].shape[1]))
        self._states = [constants.get(name) for name in node.inputs[_H:_P]]
        gru = nn.GRU if self._call.integer("linear_before_reset", 0) else ResetBeforeGRU
        kind = {"LSTM": nn.LSTM, "GRU": gru, "RNN": nn.RNN}[node.op]
        more = {"nonlinearity": self._nonlinearity()} if node.op == "RNN" else {}
        self.rnn = kind(
            weights[0].shape[2],
            hidden,
            bias=bias is not None,
            bidirectional=directions == 2,
            batch_first=self._batch_first,
            **more,
        )
        self._load(weights, bias, hidden)

    def _weight(self, index: int, axes: int) -> Array:
        given = self._call.constant(index)
        if given is None or given.ndim != axes or given.dtype != np.float32 or 0 in given.shape:
            raise self._call.refuse(f"weights (input {index}): expected floats of {axes} axes that are known")
        return given

    def _sizes(self, w: Array, r: Array) -> tuple[int, int]:
        """Directions and hidden size."""
        hidden, gates = r.shape[2], len(_GATES[self._call.node.op])
        directions = 2 if self._call.text("direction", "forward") == "bidirectional" else 1
        expected = [(directions, gates * hidden, w.shape[2]), (directions, gates * hidden, hidden)]
        if [w.shape, r.shape] != expected or not hidden <= MAX_SIZE:
            raise self._call.refuse(f"weights: expected {expected}, got {[w.shape, r.shape]}")
        if self._call.integer("hidden_size", hidden) != hidden:
            raise self._call.refuse(f"hidden_size: expected {hidden}, as the weights have it")
        return directions, hidden

    def _bias(self, shape: tuple[int, int]) -> Array | None:
        if not self._call.has(_B):
            return None
        bias = self._weight(_B, 2)
        if bias.shape != shape:
            raise self._call.refuse(f"bias: expected {shape}, got {bias.shape}")
        return bias

    def _check(self, directions: int) -> None:
        call, op = self._call, self._call.node.op
        if call.text("direction", "forward") not in ("forward", "reverse", "bidirectional"):
            raise call.refuse(f"direction {call.text('direction', '')}")
        if op != "RNN" and call.texts("activations") not in ((), _ACTIVATIONS[op] * directions):
            raise call.refuse(f"activations {', '.join(call.texts('activations'))}: torch has the default ones alone")
        if "clip" in call.node.attributes or call.integer("input_forget", 0):
            raise call.refuse("clip or input_forget: torch has no such recurrence")
        if call.has(_LENGTHS):
            raise call.refuse("sequence_lens: a bundle runs each row to its own length, without padding")
        if op == "LSTM" and call.has(_P) and (call.constant(_P) is None or call.constant(_P).any()):  # type: ignore[union-attr]
            raise call.refuse("peepholes: torch.nn.LSTM has none")

    def _nonlinearity(self) -> str:
        given = {name.lower() for name in self._call.texts("activations")} or {"tanh"}
        if given not in ({"tanh"}, {"relu"}):
            raise self._call.refuse(
                f"activations {', '.join(given)}: expected Tanh or Relu, of both directions the same"
            )
        return given.pop()

    def _load(self, weights: list[Array], bias: Array | None, hidden: int) -> None:
        order, state = _GATES[self._call.node.op], {}
        names = ["weight_ih", "weight_hh"] + ["bias_ih", "bias_hh"] * (bias is not None)
        for direction, suffix in enumerate(("", "_reverse")[: weights[0].shape[0]]):
            parts = [w[direction] for w in weights]
            parts += [] if bias is None else np.split(bias[direction], 2)
            for name, part in zip(names, parts, strict=True):
                gates = np.split(part, len(order))
                state[f"{name}_l0{suffix}"] = torch.from_numpy(np.concatenate([gates[gate] for gate in order]))
        self.rnn.load_state_dict(state)

    def forward(self, *given: Operand) -> tuple[torch.Tensor | None, ...]:
        """`given`: as the node's inputs."""
        call = OnnxCall(self._call.node, {}, given)
        x, time = call.tensor(_X), 1 if self._batch_first else 0
        x = torch.flip(x, (time,)) if self._is_reverse else x
        initial = [self._initial(call, index, x) for index in (_H, _C) if call.has(index)]
        if len(initial) == 1 and isinstance(self.rnn, nn.LSTM):
            directions, rows = 1 + self.rnn.bidirectional, x.shape[0 if self._batch_first else 1]
            initial.insert(0 if call.has(_C) else 1, x.new_zeros(directions, rows, self.rnn.hidden_size))
        if not initial:
            output, ends = self.rnn(x)
        else:
            output, ends = self.rnn(x, tuple(initial) if isinstance(self.rnn, nn.LSTM) else initial[0])
        output = torch.flip(output, (time,)) if self._is_reverse else output
        ends = ends if isinstance(ends, tuple) else (ends,)
        return (self._by_direction(output), *(end.transpose(0, 1) if self._batch_first else end for end in ends))

    def _initial(self, call: OnnxCall, index: int, x: torch.Tensor) -> torch.Tensor:
        given = call.operand(index)
        if isinstance(given, Sizes):
            raise call.refuse("an initial state of whole numbers")
        if self._batch_first:
            given = given.transpose(0, 1)
        known = self._states[index - _H] if index - _H < len(self._states) else None
        if known is not None and given.shape[1] == 1:
            return given.expand(-1, x.shape[0 if self._batch_first else 1], -1)
        return given

    def _by_direction(self, output: torch.Tensor) -> torch.Tensor:
        """[T, directions, B, hidden], or [B, T, directions, hidden]."""
        if not self.rnn.bidirectional:
            return output.unsqueeze(2 if self._batch_first else 1)
        apart = output.reshape(*output.shape[:-1], 2, self.rnn.hidden_size)
        return apart if self._batch_first else apart.permute(0, 2, 1, 3)
