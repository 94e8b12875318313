"""Affine maps by products of 8-bit integers: the int8 plan's."""

from collections.abc import Callable

import torch

from elman_models.plans.affine import Activation
from elman_models.plans.rows import rounded, with_rows

_LARGEST = 127
_ACTIVATIONS: dict[Activation, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda y: y,
    "sigmoid": torch.sigmoid_,
    "tanh": torch.tanh_,
    "relu": torch.relu_,
}


def product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """x [B, in_features] int8 times weight [in_features, out_features] int8, as int32 [B, out_features]."""
    return torch._int_mm(x, weight)


class Int8Affine:
    """Weights rounded with a scale for each output, `x` with one for each row: no row's result depends on another's.

    Of `x` the first columns may have scales of their own: a model's input may be hundreds of times as large as a state,
    of which a common scale would leave nothing. Products are summed as 32-bit integers, all else is float32.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, activation: Activation, apart: int) -> None:
        """See `MakeAffine`."""
        groups = [group for group in (weight[:, :apart], weight[:, apart:]) if group.shape[1]]
        self._widths = [group.shape[1] for group in groups]
        self._products = [_Int8Product(group) for group in groups]
        self._bias = torch.zeros(len(weight)) if bias is None else bias
        self._activation = _ACTIVATIONS[activation]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `Affine`."""
        rows, y = len(x), self._bias
        groups = with_rows(x, rounded(rows)).split_with_sizes(self._widths, 1)
        for one, group in zip(self._products, groups, strict=True):
            y = one.add_to(y, group)
        return self._activation(y[:rows])


class _Int8Product:
    def __init__(self, weight: torch.Tensor) -> None:
        scale = _scale(weight)  # [out_features, 1]
        self._scale = scale.view(-1)
        self._weight = torch.round(weight / scale).to(torch.int8).t().contiguous()  # [in_features, out_features]

    def add_to(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """y [out_features] or [B, out_features], plus x [B, in_features] times the weight."""
        scale = _scale(x)  # [B, 1]
        whole = product(torch.div(x, scale).round_().to(torch.int8), self._weight)
        return torch.addcmul(y, whole.float().mul_(scale), self._scale)


def _scale(tensor: torch.Tensor) -> torch.Tensor:
    # For each row, such that its largest number becomes 127; abs and amax: the vector norm takes ten times as long.
    return tensor.abs().amax(1, keepdim=True).clamp_(min=1e-12).mul_(1 / _LARGEST)
