"""A GRU whose reset gate stands before the product, which torch has not: step after step, by no plan.

Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder", equations 5 to 8, with the update gate the
other way round; Keras: https://keras.io/api/layers/recurrent_layers/gru, `reset_after=False`; ONNX:
https://onnx.ai/onnx/operators/onnx__GRU.html, `linear_before_reset=0`.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from elman_models.graph.operations.operation import (
    Dimension,
    Flag,
    Operation,
    Run,
    StateShape,
    Weight,
    expect,
    expect_floats,
)
from elman_models.graph.value import Per, Value


class GruResetBefore(Operation):
    """`gru_reset_before`: one layer, one direction; weights, their names and the order of gates (r, z, n) are those of
    `torch.nn.GRU`, but n = tanh(W_in x + b_in + W_hn (r * h) + b_hn).

    State and results are a `gru`'s: `h` [1, B, hidden_size]; in a whole graph rows may begin at a further input per row
    [1, hidden_size], and `node:h_n` is what they end with, of that shape.
    """

    arity: ClassVar[tuple[int, int]] = (1, 2)
    needs_sizes: ClassVar[bool] = True

    hidden_size: Dimension
    bias: Flag = True

    @property
    def results(self) -> tuple[str, ...]:
        """The output, and what rows end with."""
        return ("output", "h_n")

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """[hidden_size] per step, then [1, hidden_size] per row."""
        expect_floats(*inputs)
        expect("what the input is per", Per.STEP, inputs[0].per)
        expect("number of the input's axes", 1, len(inputs[0].features))
        end = Value((1, self.hidden_size), per=Per.ROW)
        for given in inputs[1:]:
            expect("initial state's features", end.features, given.features)
            if given.per is Per.STEP:
                raise ValueError("initial state: expected one per row or a constant, got one per step")
        return (inputs[0].with_features(self.hidden_size), end)

    def weights(self, inputs: Sequence[Value]) -> dict[str, Weight]:
        """As `torch.nn.GRU` names them."""
        gates = 3 * self.hidden_size
        shapes = {"weight_ih_l0": (gates, inputs[0].features[0]), "weight_hh_l0": (gates, self.hidden_size)}
        biases = {"bias_ih_l0": (gates,), "bias_hh_l0": (gates,)} if self.bias else {}
        return {name: Weight(shape) for name, shape in {**shapes, **biases}.items()}

    def states(self, inputs: Sequence[Value]) -> dict[str, StateShape]:
        """`h`."""
        return {"h": StateShape((self.hidden_size,), 1)}

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`; the state is after each row's last step."""
        weight_ih, weight_hh = weights["weight_ih_l0"], weights["weight_hh_l0"]
        bias = weights["bias_ih_l0"] + weights["bias_hh_l0"] if self.bias else None

        def run(sizes: NDArray[np.int64], x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            gates = functional.linear(x, weight_ih, bias)
            state, at = h[0], 0
            outputs: list[torch.Tensor] = []
            ended: list[torch.Tensor] = []
            for rows in sizes.tolist():
                ended.append(state[rows:])
                state = step(gates[at : at + rows], state[:rows], weight_hh)
                outputs.append(state)
                at += rows
            return torch.cat(outputs), torch.cat([state, *ended[::-1]])[None]

        return run


def step(gates: torch.Tensor, h: torch.Tensor, weight_hh: torch.Tensor) -> torch.Tensor:
    """The next state [B, size].

    Args:
        gates: [B, 3 x size], what the input and all biases give to r, z and n.
        h: [B, size].
        weight_hh: [3 x size, size].
    """
    size = h.shape[1]
    both = 2 * size
    r, z = torch.sigmoid(gates[:, :both] + functional.linear(h, weight_hh[:both])).chunk(2, 1)
    n = torch.tanh(gates[:, both:] + functional.linear(r * h, weight_hh[both:]))
    return (1 - z) * n + z * h
