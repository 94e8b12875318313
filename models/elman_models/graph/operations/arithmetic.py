"""Arithmetic and comparisons of two values, or of one and a number; features broadcast as NumPy's and torch's do."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch

from elman_models.graph.operations.operation import (
    Number,
    Operation,
    Run,
    Scalar,
    aligned,
    broadcast,
    common_bound,
    expect,
    expect_floats,
    joined,
)
from elman_models.graph.value import DType, Value

ARITHMETIC: dict[str, Run] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "pow": torch.pow,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "remainder": torch.remainder,
}
COMPARISONS: dict[str, Run] = {
    "eq": torch.eq,
    "ne": torch.ne,
    "lt": torch.lt,
    "le": torch.le,
    "gt": torch.gt,
    "ge": torch.ge,
}
LOGIC: dict[str, Run] = {"logical_and": torch.logical_and, "logical_or": torch.logical_or}


class _Elementwise(Operation):
    """A function of two values, or of one and `value`."""

    arity: ClassVar[tuple[int, int]] = (1, 2)
    value: Scalar | None = None
    """The second operand, where there is one input."""

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The features that both broadcast to."""
        if (self.value is None) == (len(inputs) == 1):
            raise ValueError("expected two inputs, or one and a `value`")
        expect("second input's dtype", inputs[0].dtype, inputs[-1].dtype)
        features = broadcast([value.features for value in inputs])
        return (Value(features, self._dtype(inputs[0]), joined(inputs)),)

    def _dtype(self, first: Value) -> DType:
        raise NotImplementedError

    def _bound(self, function: Run, inputs: Sequence[Value]) -> Run:
        if len(inputs) == 1:
            number = self.value
            if self.op in ("maximum", "minimum"):
                return lambda x: torch.clamp(x, min=number) if self.op == "maximum" else torch.clamp(x, max=number)
            return lambda x: function(x, number)
        return broadcasting(function, inputs)


def broadcasting(function: Run, inputs: Sequence[Value]) -> Run:
    """`function` of tensors whose features broadcast, though the batch's axis stands before them."""
    rank = max(len(value.features) for value in inputs)
    align = [aligned(value, rank) for value in inputs]
    if not any(align):
        return function
    return lambda *xs: function(*(a(x) if a else x for a, x in zip(align, xs, strict=True)))


class Arithmetic(_Elementwise):
    """One of ARITHMETIC."""

    def _dtype(self, first: Value) -> DType:
        if first.dtype is DType.BOOL or (first.dtype is DType.INT64 and self.op in ("div", "pow")):
            raise ValueError(f"input's dtype: expected float32, got {first.dtype}")
        if first.dtype is DType.INT64 and isinstance(self.value, float):
            raise ValueError("value: expected an int beside an int64 input; a `cast` makes it float32")
        return first.dtype

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        return self._bound(ARITHMETIC[self.op], inputs)


class Comparison(_Elementwise):
    """One of COMPARISONS: bool."""

    def _dtype(self, first: Value) -> DType:
        return DType.BOOL

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        return self._bound(COMPARISONS[self.op], inputs)


class Logic(Operation):
    """One of LOGIC."""

    arity: ClassVar[tuple[int, int]] = (2, 2)

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The features that both broadcast to."""
        for value in inputs:
            expect("input's dtype", DType.BOOL, value.dtype)
        return (Value(broadcast([value.features for value in inputs]), DType.BOOL, joined(inputs)),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        return broadcasting(LOGIC[self.op], inputs)


class LogicalNot(Operation):
    """`logical_not`."""

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """As the input."""
        expect("input's dtype", DType.BOOL, inputs[0].dtype)
        return (inputs[0],)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        return torch.logical_not


class Where(Operation):
    """`where`: the second input where the first is true, else the third."""

    arity: ClassVar[tuple[int, int]] = (3, 3)

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The features that all broadcast to."""
        expect("first input's dtype", DType.BOOL, inputs[0].dtype)
        expect("third input's dtype", inputs[1].dtype, inputs[2].dtype)
        features = broadcast([value.features for value in inputs])
        return (Value(features, inputs[1].dtype, joined(inputs), common_bound(inputs[1:])),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        return broadcasting(torch.where, inputs)


class Clamp(Operation):
    """`clamp`: no less than `min`, no more than `max`."""

    min: Scalar | None = None
    max: Scalar | None = None

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """As the input."""
        if self.min is None and self.max is None:
            raise ValueError("expected a `min` or a `max`")
        if inputs[0].dtype is DType.BOOL:
            raise ValueError("input's dtype: expected float32 or int64, got bool")
        if inputs[0].dtype is DType.INT64 and (isinstance(self.min, float) or isinstance(self.max, float)):
            raise ValueError("min and max: expected ints beside an int64 input")
        if isinstance(self.min, int) and isinstance(self.max, int) and 0 <= self.min <= self.max:
            return (replace(inputs[0], bound=self.max + 1),)
        return (inputs[0].of(inputs[0].dtype),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        low, high = self.min, self.max
        return lambda x: torch.clamp(x, low, high)


class Scale(Operation):
    """`scale`: x * scale + shift, both numbers."""

    scale: Number = 1.0
    shift: Number = 0.0

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """As the input."""
        expect_floats(inputs[0])
        return (inputs[0],)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        scale, shift = self.scale, self.shift
        if not shift:
            return lambda x: x * scale
        return (lambda x: x + shift) if scale == 1 else lambda x: x * scale + shift


class Cast(Operation):
    """`cast`: to another dtype; of floats the part before the point."""

    dtype: Literal[DType.FLOAT32, DType.INT64, DType.BOOL]

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """As the input, of the other dtype."""
        return (inputs[0].of(self.dtype),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        dtype = self.dtype.torch
        return lambda x: x.to(dtype)
