"""Convolutions and pooling over the features of one step: [channels, length] or [channels, height, width]."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch.nn import functional

from elman_models.graph.operations.operation import Count, Dimension, Operation, Run, Weight, expect, expect_floats
from elman_models.graph.value import Value

Sizes = Annotated[tuple[Dimension, ...], Field(min_length=1, max_length=2)]
"""Of each axis after that of channels."""
Padding = Annotated[tuple[Count, ...], Field(max_length=2)]

_RANKS = {"1d": 1, "2d": 2}


class _Window(Operation):
    kernel_size: Sizes
    stride: Sizes | None = None
    padding: Padding | None = None
    dilation: Sizes | None = None

    @property
    def rank(self) -> int:
        """Axes after that of channels."""
        return _RANKS[self.op[-2:]]

    @property
    def strides(self) -> tuple[int, ...]:
        """Where none is given 1; of pooling the kernel's size."""
        return self.stride or (1,) * self.rank

    def _out(self, value: Value) -> tuple[int, ...]:
        expect_floats(value)
        if not value.has_batch:
            raise ValueError("input: expected one per step or row, got a constant")
        expect("number of axes, channels first", self.rank + 1, len(value.features))
        padding, dilation = self.padding or (0,) * self.rank, self.dilation or (1,) * self.rank
        for name, sizes in (("kernel_size", self.kernel_size), ("stride", self.strides), ("padding", padding)):
            expect(f"number of sizes of {name}", self.rank, len(sizes))
        expect("number of sizes of dilation", self.rank, len(dilation))
        columns = zip(value.features[1:], self.kernel_size, self.strides, padding, dilation, strict=True)
        sizes = tuple((size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in columns)
        if min(sizes) < 1:
            raise ValueError(f"kernel_size {list(self.kernel_size)} is larger than features {list(value.features)}")
        return sizes


class Conv(_Window):
    """`conv1d`, `conv2d`."""

    out_channels: Dimension
    groups: Dimension = 1

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """[out_channels, ...]."""
        out = self._out(inputs[0])
        if inputs[0].features[0] % self.groups or self.out_channels % self.groups:
            raise ValueError(f"groups: expected a divisor of {inputs[0].features[0]} and {self.out_channels} channels")
        return (inputs[0].with_features(self.out_channels, *out),)

    def weights(self, inputs: Sequence[Value]) -> dict[str, Weight]:
        """As `torch.nn.Conv1d`, `Conv2d`."""
        weight = Weight((self.out_channels, inputs[0].features[0] // self.groups, *self.kernel_size))
        return {"weight": weight, "bias": Weight((self.out_channels,), is_optional=True)}

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        weight, bias, groups = weights["weight"], weights.get("bias"), self.groups
        stride, padding, dilation = self.strides, self.padding or (0,) * self.rank, self.dilation or (1,) * self.rank
        function = functional.conv1d if self.rank == 1 else functional.conv2d
        return lambda x: function(x, weight, bias, stride, padding, dilation, groups)


class Pool(_Window):
    """`max_pool1d`, `max_pool2d`, `avg_pool1d`, `avg_pool2d`."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Where none is given the kernel's size."""
        return self.stride or self.kernel_size

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """[channels, ...]."""
        if self.op.startswith("avg") and self.dilation is not None:
            raise ValueError("dilation: an average has none")
        return (inputs[0].with_features(*inputs[0].features[:1], *self._out(inputs[0])),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        kernel, stride, padding = self.kernel_size, self.strides, self.padding or (0,) * self.rank
        if self.op.startswith("avg"):
            average = functional.avg_pool1d if self.rank == 1 else functional.avg_pool2d
            return lambda x: average(x, kernel, stride, padding)
        dilation = self.dilation or (1,) * self.rank
        greatest = torch.max_pool1d if self.rank == 1 else torch.max_pool2d
        return lambda x: greatest(x, kernel, stride, padding, dilation)
