"""Affine maps with packed weights and what follows them: the matrix products of the fused plan."""

from collections.abc import Callable
from typing import Literal, Protocol

import torch

from elman_models.plans.rows import rounded, with_rows

Activation = Literal["none", "sigmoid", "tanh", "relu"]


class Affine(Protocol):
    """`activation(x @ weight.T + bias)`."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x [B, in_features] float32 to a new [B, out_features] float32."""
        ...


MakeAffine = Callable[[torch.Tensor, torch.Tensor | None, Activation, int], Affine]
"""From weight [out_features, in_features], bias [out_features] or None, activation, and how many of the first columns
are the model's input, which may be of another range than the rest of `x`."""


class OneDnnAffine:
    """oneDNN with the weight in its own blocked layout; the activation is applied while a tile is in registers.

    The operators are those that TorchInductor packs its linear layers with (torch/_inductor/mkldnn_ir.py).
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, activation: Activation, _apart: int) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
        self._bias = bias
        self._activation = activation
        self._linear = torch.ops.mkldnn._linear_pointwise.default

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `Affine`; in the weight's dtype."""
        rows = len(x)
        x = with_rows(x, rounded(rows))
        y: torch.Tensor = self._linear(x, self._weight, self._bias, self._activation, [], "")
        return y[:rows]


class BFloat16Affine:
    """oneDNN with weight and `x` as bfloat16, products summed as float32, the result rounded to bfloat16.

    A sigmoid follows in float32: the fused plan makes tanh from it, and one rounded to 8 bits has no small values left.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, activation: Activation, apart: int) -> None:
        self._late_sigmoid = activation == "sigmoid"
        low_bias = None if bias is None else bias.to(torch.bfloat16)
        early = "none" if self._late_sigmoid else activation
        self._affine = OneDnnAffine(weight.to(torch.bfloat16), low_bias, early, apart)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `Affine`."""
        y = self._affine(x.to(torch.bfloat16)).float()
        return y.sigmoid_() if self._late_sigmoid else y
