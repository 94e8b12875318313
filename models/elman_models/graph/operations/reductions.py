"""Over axes of the features: sums, the greatest, softmax, the best k."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from elman_models.graph.operations.operation import (
    Axis,
    Dimension,
    Flag,
    Operation,
    Run,
    axis_of,
    expect_floats,
    expect_ids,
)
from elman_models.graph.value import DType, Value

REDUCTIONS: dict[str, Run] = {
    "sum": torch.sum,
    "mean": torch.mean,
    "amax": torch.amax,
    "amin": torch.amin,
    "logsumexp": torch.logsumexp,
}
ARGUMENTS: dict[str, Run] = {"argmax": torch.argmax, "argmin": torch.argmin}
ALONG: dict[str, Run] = {"softmax": torch.softmax, "log_softmax": torch.log_softmax, "cumsum": torch.cumsum}
"""Of an axis, which stays."""


class Reduction(Operation):
    """One of REDUCTIONS."""

    axes: Annotated[tuple[Axis, ...], Field(min_length=1)] = (-1,)
    keepdim: Flag = False
    """Whether the axes stay, of size 1."""

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """Without the axes."""
        expect_floats(inputs[0])
        return (inputs[0].with_features(*reduced(inputs[0], self.axes, self.keepdim)),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        axes, keepdim, function = [axis_of(a, inputs[0]) for a in self.axes], self.keepdim, REDUCTIONS[self.op]
        return lambda x: function(x, axes, keepdim)


def reduced(value: Value, axes: Sequence[int], keepdim: bool) -> tuple[int, ...]:
    """The features that are left.

    Raises:
        ValueError: an axis that there is not, or twice.
    """
    gone = [axis_of(axis, value) for axis in axes]
    if len(set(gone)) != len(gone):
        raise ValueError(f"axes: one stands twice in {list(axes)}")
    sizes = enumerate(value.features, -len(value.features))
    return tuple(1 if axis in gone else size for axis, size in sizes if keepdim or axis not in gone)


class Argument(Operation):
    """One of ARGUMENTS: int64."""

    axis: Axis = -1
    keepdim: Flag = False

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """Without the axis."""
        expect_floats(inputs[0])
        places = inputs[0].with_features(*reduced(inputs[0], [self.axis], self.keepdim)).of(DType.INT64)
        size = inputs[0].features[axis_of(self.axis, inputs[0])]
        return (replace(places, bound=size),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        axis, keepdim, function = axis_of(self.axis, inputs[0]), self.keepdim, ARGUMENTS[self.op]
        return lambda x: function(x, axis, keepdim)


class Along(Operation):
    """One of ALONG."""

    axis: Axis = -1

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """As the input."""
        expect_floats(inputs[0])
        axis_of(self.axis, inputs[0])
        return (inputs[0],)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        axis, function = axis_of(self.axis, inputs[0]), ALONG[self.op]
        return lambda x: function(x, axis)


class TopK(Operation):
    """`top_k`: the k greatest of an axis, the greatest first: `node` their values, `node:indices` where they stand."""

    k: Dimension
    axis: Axis = -1
    results_: ClassVar[tuple[str, ...]] = ("values", "indices")

    @property
    def results(self) -> tuple[str, ...]:
        """Values and indices."""
        return self.results_

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The axis of k."""
        expect_floats(inputs[0])
        axis, features = axis_of(self.axis, inputs[0]), list(inputs[0].features)
        if self.k > features[axis]:
            raise ValueError(f"k: expected at most {features[axis]}, got {self.k}")
        size, features[axis] = features[axis], self.k
        values = inputs[0].with_features(*features)
        return values, replace(values.of(DType.INT64), bound=size)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        k, axis = self.k, axis_of(self.axis, inputs[0])
        return lambda x: tuple(torch.topk(x, k, axis))


class Glu(Operation):
    """`glu`: the first half of an axis times the sigmoid of the second."""

    axis: Axis = -1

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The axis half as long."""
        expect_floats(inputs[0])
        axis, features = axis_of(self.axis, inputs[0]), list(inputs[0].features)
        if features[axis] % 2:
            raise ValueError(f"axis {self.axis}: expected an even size, got {features[axis]}")
        features[axis] //= 2
        return (inputs[0].with_features(*features),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        axis = axis_of(self.axis, inputs[0])
        return lambda x: torch.nn.functional.glu(x, axis)


class OneHot(Operation):
    """`one_hot`: ids in [0, num_classes) as float32 vectors along a new last axis."""

    num_classes: Dimension

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """With the new axis."""
        expect_ids(inputs[0], self.num_classes)
        return (inputs[0].with_features(*inputs[0].features, self.num_classes).of(DType.FLOAT32),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        classes = self.num_classes
        return lambda ids: torch.zeros(*ids.shape, classes, device=ids.device).scatter_(-1, ids[..., None], 1.0)
