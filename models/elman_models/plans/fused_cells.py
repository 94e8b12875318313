"""The fused plan's layers: each cell's equations (torch.nn.RNN, LSTM, GRU) in as few passes as torch's operators allow.

torch's CPU tanh costs nine times its sigmoid (2.1 and 0.24 ns a number, AVX-512), so tanh(x) is 2 sigmoid(2 x) - 1,
the inner factor folded into the weights.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from elman_models.plans.affine import MakeAffine


@dataclass(frozen=True)
class LayerWeights:
    """One layer's parameters in torch's layout: gates are blocks of hidden_size rows."""

    ih: torch.Tensor  # [num_gates * hidden_size, inputs]
    hh: torch.Tensor  # [num_gates * hidden_size, state_size]
    b_ih: torch.Tensor | None  # [num_gates * hidden_size]
    b_hh: torch.Tensor | None  # [num_gates * hidden_size]
    hr: torch.Tensor | None  # [proj_size, hidden_size]
    apart: int
    """How many of the inputs are the model's; none where they are the layer's below."""

    @classmethod
    def of(cls, rnn: nn.RNNBase, layer: int) -> "LayerWeights":
        """The parameters of one layer, forward; not copied."""
        names = {"ih": "weight_ih", "hh": "weight_hh", "b_ih": "bias_ih", "b_hh": "bias_hh", "hr": "weight_hr"}
        found = {field: getattr(rnn, f"{name}_l{layer}", None) for field, name in names.items()}
        tensors = {field: None if tensor is None else tensor.detach() for field, tensor in found.items()}
        return cls(**tensors, apart=0 if layer else rnn.input_size)  # type: ignore[arg-type]

    @property
    def both(self) -> torch.Tensor:
        """[num_gates * hidden_size, inputs + state_size], for [x, h]."""
        return torch.cat((self.ih, self.hh), 1)

    @property
    def bias(self) -> torch.Tensor | None:
        """[num_gates * hidden_size]: the sum of the biases."""
        return None if self.b_ih is None or self.b_hh is None else self.b_ih + self.b_hh


class RnnLayer:
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or ReLU: one product, its activation within."""

    def __init__(self, w: LayerWeights, make: MakeAffine, activation: Literal["tanh", "relu"]) -> None:
        self._step = make(w.both, w.bias, activation, w.apart)

    def run(self, x: torch.Tensor, sizes: list[int], h: torch.Tensor, c: torch.Tensor | None, y: torch.Tensor) -> None:
        """See `Layer.run`."""
        for x_t, y_t in zip(torch.split_with_sizes(x, sizes), torch.split_with_sizes(y, sizes), strict=True):
            h = self._step(torch.cat((x_t, h[: len(x_t)]), 1))
            y_t.copy_(h)


class LstmLayer:
    """i, f, o = sigmoid(...), g = tanh(...), c' = f c + i g, h' = o tanh(c'), times W_hr where projected.

    With g = 2 s - 1 one sigmoid makes all four gates. Kept is k = -2 c, so that o tanh(c) is o - 2 o sigmoid(k), one
    pass; factors of two lose nothing.
    """

    def __init__(self, w: LayerWeights, make: MakeAffine) -> None:
        self._gates = make(_double_g(w.both), None if w.bias is None else _double_g(w.bias), "sigmoid", w.apart)
        self._project = None if w.hr is None else make(w.hr, None, "none", 0)

    def run(
        self, x: torch.Tensor, sizes: list[int], h: torch.Tensor, c: torch.Tensor | None, y: torch.Tensor
    ) -> torch.Tensor:
        """See `Layer.run`."""
        all_k = torch.zeros(0) if c is None else c * -2  # [sizes[0], hidden_size]
        for x_t, y_t in zip(torch.split_with_sizes(x, sizes), torch.split_with_sizes(y, sizes), strict=True):
            k = all_k[: len(x_t)]
            i, f, s, o = self._gates(torch.cat((x_t, h[: len(x_t)]), 1)).chunk(4, 1)
            k.mul_(f).add_(i, alpha=2).addcmul_(i, s, value=-4)
            if self._project is None:
                h = torch.addcmul(o, o, k.sigmoid(), value=-2, out=y_t)
            else:
                h = y_t.copy_(self._project(torch.addcmul(o, o, k.sigmoid(), value=-2)))
        return all_k.mul_(-0.5)


class GruLayer:
    """r, z = sigmoid(...), n = tanh(W_in x + b_in + r (W_hn h + b_hn)), h' = (1 - z) n + z h.

    r and z are one product of [x, h]. n keeps its part of x apart from h's, so x's is one product for all steps.
    """

    def __init__(self, w: LayerWeights, make: MakeAffine) -> None:
        size = w.hh.shape[1]
        bias, b_x, b_h = w.bias, w.b_ih, w.b_hh
        self._rz = make(w.both[: 2 * size], None if bias is None else bias[: 2 * size], "sigmoid", w.apart)
        self._n_of_x = make(2 * w.ih[2 * size :], None if b_x is None else 2 * b_x[2 * size :], "none", w.apart)
        self._n_of_h = make(2 * w.hh[2 * size :], None if b_h is None else 2 * b_h[2 * size :], "none", 0)

    def run(self, x: torch.Tensor, sizes: list[int], h: torch.Tensor, c: torch.Tensor | None, y: torch.Tensor) -> None:
        """See `Layer.run`."""
        for x_t, n, y_t in zip(
            torch.split_with_sizes(x, sizes),
            torch.split_with_sizes(self._n_of_x(x), sizes),
            torch.split_with_sizes(y, sizes),
            strict=True,
        ):
            h = h[: len(x_t)]
            r, z = self._rz(torch.cat((x_t, h), 1)).chunk(2, 1)
            n.addcmul_(self._n_of_h(h), r).sigmoid_().mul_(2).sub_(1)
            h = torch.lerp(n, h, z, out=y_t)


def _double_g(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` [4 * hidden_size, ...], gates i, f, g, o, with the rows of g doubled."""
    i, f, g, o = tensor.chunk(4)
    return torch.cat((i, f, 2 * g, o))
