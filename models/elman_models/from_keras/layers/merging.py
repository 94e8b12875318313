"""Several tensors as one; and the operations of `keras.ops` that a Functional model may have instead of layers."""

from collections.abc import Callable
from functools import reduce

import torch
from torch import nn

from elman_models.from_keras.layers.registry import Building, builds

Pair = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_PAIRS: dict[str, Pair] = {
    "Add": torch.add,
    "Subtract": torch.sub,
    "Multiply": torch.mul,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
}
_OPERATIONS: dict[str, Callable[..., torch.Tensor]] = {
    **_PAIRS,
    "Divide": torch.div,
    "TrueDivide": torch.div,
    "Negative": torch.neg,
    "Absolute": torch.abs,
    "Abs": torch.abs,
    "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid,
    "Relu": torch.relu,
    "Exp": torch.exp,
    "Log": torch.log,
    "Sqrt": torch.sqrt,
    "Square": torch.square,
}
"""`keras/src/ops/numpy.py` and `nn.py`: those without further arguments."""


class Merging(nn.Module):
    """A list of tensors as one."""

    def __init__(self, function: Callable[[list[torch.Tensor]], torch.Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, *given: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Given one by one or together."""
        tensors = [part for one in given for part in ((one,) if isinstance(one, torch.Tensor) else one)]
        return self._function(tensors)


class Operation(nn.Module):
    """An operation of `keras.ops`: of tensors and numbers."""

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, *given: torch.Tensor | float) -> torch.Tensor:
        """Numbers as tensors."""
        return self._function(*(one if isinstance(one, torch.Tensor) else torch.tensor(float(one)) for one in given))


def operation(building: Building) -> nn.Module:
    """One of `keras.ops`.

    Raises:
        ExportError: it is not known.
    """
    function = _OPERATIONS.get(building.layer.kind)
    if function is None:
        raise building.layer.refuse(f"an operation that is not known; known are {', '.join(_OPERATIONS)}")
    return Operation(function)


@builds(*_PAIRS)
def _pairs(building: Building) -> nn.Module:
    function = _PAIRS[building.layer.kind]
    return Merging(lambda tensors: reduce(function, tensors))


@builds("Average")
def _average(building: Building) -> nn.Module:
    return Merging(lambda tensors: reduce(torch.add, tensors) / len(tensors))


@builds("Concatenate")
def _concatenate(building: Building) -> nn.Module:
    axis = building.layer.config.get("axis", -1)
    if type(axis) is not int:
        raise building.layer.refuse(f"axis: expected a number, got {axis!r:.80}")
    return Merging(lambda tensors: torch.cat(tensors, axis))
