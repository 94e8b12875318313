"""Cells: one step of a recurrence whose state is a value like any other, for step graphs."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch

from elman_models.graph.operations.operation import (
    Dimension,
    Flag,
    Operation,
    Run,
    Weight,
    expect,
    expect_floats,
    joined,
)
from elman_models.graph.value import DType, Value

_NUM_GATES = {"lstm_cell": 4, "gru_cell": 3, "rnn_tanh_cell": 1, "rnn_relu_cell": 1}


class Cell(Operation):
    """`rnn_tanh_cell`, `rnn_relu_cell`, `gru_cell`: (x, h) to h; `lstm_cell`: (x, h, c) to h and `node:c`."""

    arity: ClassVar[tuple[int, int]] = (2, 3)
    hidden_size: Dimension
    bias: Flag = True

    @property
    def results(self) -> tuple[str, ...]:
        """The next state."""
        return ("h", "c") if self.op == "lstm_cell" else ("h",)

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The next state, of the state's shape."""
        expect("number of inputs", 1 + len(self.results), len(inputs))
        expect_floats(*inputs)
        expect("number of the input's axes", 1, len(inputs[0].features))
        for state in inputs[1:]:
            expect("state's features", (self.hidden_size,), state.features)
        if not inputs[0].has_batch:
            raise ValueError("input: expected one per step or row, got a constant")
        state = Value((self.hidden_size,), DType.FLOAT32, joined(inputs))
        return (state,) * len(self.results)

    def weights(self, inputs: Sequence[Value]) -> dict[str, Weight]:
        """As `torch.nn.LSTMCell` names them: `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`."""
        gates = _NUM_GATES[self.op] * self.hidden_size
        ih, hh = Weight((gates, inputs[0].features[0])), Weight((gates, self.hidden_size))
        biases = {"bias_ih": Weight((gates,)), "bias_hh": Weight((gates,))} if self.bias else {}
        return {"weight_ih": ih, "weight_hh": hh} | biases

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        w_ih, w_hh = weights["weight_ih"], weights["weight_hh"]
        b_ih, b_hh = weights.get("bias_ih"), weights.get("bias_hh")
        bare = [not value.has_batch for value in inputs]

        def batched(x: torch.Tensor, states: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
            return [s.expand(len(x), -1) if b else s for s, b in zip(states, bare[1:], strict=True)]

        if self.op == "lstm_cell":
            return lambda x, *hc: torch.lstm_cell(x, batched(x, hc), w_ih, w_hh, b_ih, b_hh)
        functions = {
            "gru_cell": torch.gru_cell,
            "rnn_tanh_cell": torch.rnn_tanh_cell,
            "rnn_relu_cell": torch.rnn_relu_cell,
        }
        function = functions[self.op]
        return lambda x, *h: function(x, batched(x, h)[0], w_ih, w_hh, b_ih, b_hh)
