"""Features in other shapes and orders; parts of them, and several together."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import ClassVar

import torch

from elman_models.graph.operations.operation import (
    Axis,
    Count,
    Dimension,
    Features,
    Index,
    Number,
    Operation,
    Run,
    axis_of,
    common_bound,
    expect,
    joined,
)
from elman_models.graph.value import DType, Value


class Reshape(Operation):
    """`reshape`: features in another shape of as many numbers."""

    features: Features

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """Of the other shape."""
        expect(f"numbers of features {list(self.features)}", inputs[0].numel, prod(self.features))
        return (inputs[0].with_features(*self.features),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        shape = (-1, *self.features) if inputs[0].has_batch else self.features
        return lambda x: x.reshape(shape)


class Permute(Operation):
    """`permute`: axes of the features in another order."""

    axes: tuple[Axis, ...]

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """Of the other order."""
        features, rank = inputs[0].features, len(inputs[0].features)
        order = [axis_of(axis, inputs[0]) for axis in self.axes]
        if sorted(order) != list(range(-rank, 0)):
            raise ValueError(f"axes: expected each of the {rank} once, got {list(self.axes)}")
        return (inputs[0].with_features(*(features[axis] for axis in order)),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        order = [axis_of(axis, inputs[0]) for axis in self.axes]
        order = [0, *order] if inputs[0].has_batch else order
        return lambda x: x.permute(order)


class Expand(Operation):
    """`expand`: axes of 1 repeated, further axes before them."""

    features: Features

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """Of the wider shape."""
        given = (1,) * (len(self.features) - len(inputs[0].features)) + inputs[0].features
        if len(given) != len(self.features) or any(g not in (1, f) for g, f in zip(given, self.features, strict=True)):
            raise ValueError(f"features {list(inputs[0].features)} cannot be expanded to {list(self.features)}")
        return (inputs[0].with_features(*self.features),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        features, missing = self.features, len(self.features) - len(inputs[0].features)
        if not inputs[0].has_batch:
            return lambda x: x.expand(features)
        narrow = (-1, *(1,) * missing, *inputs[0].features)
        return lambda x: x.reshape(narrow).expand(-1, *features)


class Concat(Operation):
    """`concat`: several values one after another along an axis."""

    arity: ClassVar[tuple[int, int]] = (1, 256)
    axis: Axis = -1

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The axis as long as all together."""
        axis = axis_of(self.axis, inputs[0])
        first = list(inputs[0].features)
        for value in inputs:
            expect("input's dtype", inputs[0].dtype, value.dtype)
            others = list(value.features)
            if len(others) == len(first):
                others[axis] = first[axis]
            expect(f"features beside axis {self.axis}", first, others)
        first[axis] = sum(value.features[axis] for value in inputs)
        return (Value(tuple(first), inputs[0].dtype, joined(inputs), common_bound(inputs)),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        axis = axis_of(self.axis, inputs[0])
        has_batch = joined(inputs) != "model"
        bare = [has_batch and not value.has_batch for value in inputs]
        if not any(bare):
            return lambda *xs: torch.cat(xs, axis)
        at = bare.index(False)

        def run(*xs: torch.Tensor) -> torch.Tensor:
            batch = len(xs[at])
            return torch.cat([x.expand(batch, *x.shape) if b else x for x, b in zip(xs, bare, strict=True)], axis)

        return run


class Slice(Operation):
    """`slice`: every `step`-th of an axis from `start` to before `stop`; negative ones count from the end."""

    axis: Axis = -1
    start: Index = 0
    stop: Index | None = None
    step: Dimension = 1

    def taken(self, value: Value) -> range:
        """Places of the axis."""
        return range(*slice(self.start, self.stop, self.step).indices(value.features[axis_of(self.axis, value)]))

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The axis as long as what is taken of it."""
        features, taken = list(inputs[0].features), self.taken(inputs[0])
        if not taken:
            raise ValueError(f"nothing is left of axis {self.axis} of {features} from {self.start} to {self.stop}")
        features[axis_of(self.axis, inputs[0])] = len(taken)
        return (inputs[0].with_features(*features),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        axis, taken = axis_of(self.axis, inputs[0]), self.taken(inputs[0])
        if self.step == 1:
            return lambda x: x.narrow(axis, taken.start, len(taken))
        index = (..., slice(taken.start, taken.stop, taken.step), *(slice(None),) * (-axis - 1))
        return lambda x: x[index]


class Select(Operation):
    """`select`: one of an axis, which goes."""

    axis: Axis = -1
    index: Index

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """Without the axis."""
        features = list(inputs[0].features)
        size = features.pop(axis_of(self.axis, inputs[0]))
        if not -size <= self.index < size:
            raise ValueError(f"index: expected one of {size}, got {self.index}")
        return (inputs[0].with_features(*features),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        axis, index = axis_of(self.axis, inputs[0]), self.index
        return lambda x: x.select(axis, index)


class Split(Operation):
    """`split`: parts of an axis, of these sizes; `node` is the first, `node:1` the second."""

    axis: Axis = -1
    sizes: tuple[Dimension, ...]

    @property
    def results(self) -> tuple[str, ...]:
        """Numbers from 0."""
        return tuple(str(index) for index in range(len(self.sizes)))

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The parts."""
        axis, features = axis_of(self.axis, inputs[0]), inputs[0].features
        expect(f"sum of sizes {list(self.sizes)}", features[axis], sum(self.sizes))
        at = axis + len(features)
        return tuple(inputs[0].with_features(*features[:at], size, *features[at + 1 :]) for size in self.sizes)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        axis, sizes = axis_of(self.axis, inputs[0]), list(self.sizes)
        if len(sizes) == 1:
            return lambda x: x
        return lambda x: torch.split(x, sizes, axis)


class Stack(Operation):
    """`stack`: several values of one shape along a new axis."""

    arity: ClassVar[tuple[int, int]] = (1, 256)
    axis: Axis = 0

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """With the new axis."""
        for value in inputs:
            expect("input's features", inputs[0].features, value.features)
            expect("input's dtype", inputs[0].dtype, value.dtype)
            expect("what an input is per", inputs[0].per, value.per)
        features = list(inputs[0].features)
        rank = len(features) + 1
        if not -rank <= self.axis < rank:
            raise ValueError(f"axis: expected one of {rank}, got {self.axis}")
        features.insert(self.axis % rank, len(inputs))
        return (Value(tuple(features), inputs[0].dtype, inputs[0].per, common_bound(inputs)),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        rank = len(inputs[0].features) + 1
        axis = self.axis - rank if self.axis >= 0 else self.axis
        return lambda *xs: torch.stack(xs, axis)


class Pad(Operation):
    """`pad`: numbers before and after an axis."""

    axis: Axis = -1
    before: Count = 0
    after: Count = 0
    value: Number = 0.0

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The axis longer."""
        features = list(inputs[0].features)
        size = features[axis_of(self.axis, inputs[0])] + self.before + self.after
        expect("input's dtype", DType.FLOAT32, inputs[0].dtype)
        features[axis_of(self.axis, inputs[0])] = size
        return (inputs[0].with_features(*features),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        axis = axis_of(self.axis, inputs[0])
        pads, value = [*(0,) * (2 * (-axis - 1)), self.before, self.after], self.value
        return lambda x: torch.constant_pad_nd(x, pads, value)


class Flip(Operation):
    """`flip`: an axis of the features from its end."""

    axis: Axis = -1

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """As the input."""
        axis_of(self.axis, inputs[0])
        return (inputs[0],)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        axis = axis_of(self.axis, inputs[0])
        return lambda x: torch.flip(x, (axis,))
