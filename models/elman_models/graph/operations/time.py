"""Over time, and between steps and rows: whole graphs' own, where rows are equally long."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from elman_models.graph.operations.operation import (
    Count,
    Dimension,
    Function,
    Number,
    Operation,
    Run,
    Weight,
    expect,
    expect_floats,
)
from elman_models.graph.value import DType, Per, Value

Sizes = NDArray[np.int64]


def by_time(sizes: Sizes, x: torch.Tensor) -> torch.Tensor:
    """[T, B, *features] of packed equally long rows."""
    return x.reshape(len(sizes), int(sizes[0]), *x.shape[1:])


class EachStep(Operation):
    """`each_step`: every step is given its row's value, or the one that there is for the model; of any graph."""

    needs_sizes: ClassVar[bool] = True

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """Likewise, per step."""
        if inputs[0].per is not Per.MODEL:
            expect("what the input is per", Per.ROW, inputs[0].per)
        return (replace(inputs[0], per=Per.STEP),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        if inputs[0].per is Per.MODEL:
            ones = [1] * len(inputs[0].features)
            return lambda sizes, x: x.repeat(int(sizes.sum()), *ones)  # no view: whoever has it may write to it

        def run(sizes: Sizes, x: torch.Tensor) -> torch.Tensor:
            if len(sizes) == 1:
                return x
            if sizes[0] == sizes[-1]:
                return x.expand(len(sizes), *x.shape).flatten(0, 1)
            return torch.cat([x[:rows] for rows in sizes.tolist()])

        return run


class _Whole(Operation):
    needs_sizes: ClassVar[bool] = True

    @property
    def looks_ahead(self) -> bool:
        """All of these."""
        return True

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """As the input."""
        for value in inputs:
            expect("what an input is per", Per.STEP, value.per)
        return (inputs[0],)


class OverTime(_Whole):
    """`last`, `first`, `time_sum`, `time_mean`, `time_amax`: per row."""

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """Likewise, per row."""
        (value,) = super().infer(inputs)
        if self.op.startswith("time_"):
            expect_floats(value)
        return (replace(value, per=Per.ROW),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        if self.op == "last":
            return lambda sizes, x: x[-int(sizes[0]) :]
        if self.op == "first":
            return lambda sizes, x: x[: int(sizes[0])]
        functions: dict[str, Run] = {"time_sum": torch.sum, "time_mean": torch.mean, "time_amax": torch.amax}
        function = functions[self.op]
        return lambda sizes, x: function(by_time(sizes, x), 0)


class AlongTime(_Whole):
    """`time_flip`, `time_softmax`, `time_cumsum`: per step."""

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        functions: dict[str, Function] = {
            "time_flip": lambda x: torch.flip(x, (0,)),
            "time_softmax": lambda x: torch.softmax(x, 0),
            "time_cumsum": lambda x: torch.cumsum(x, 0),
        }
        function = functions[self.op]
        return lambda sizes, x: function(by_time(sizes, x)).flatten(0, 1)

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """As the input."""
        if self.op != "time_flip":
            expect_floats(*inputs)
        return super().infer(inputs)


class TimeConv1d(_Whole):
    """`time_conv1d`: `torch.nn.Conv1d` over time with as many steps out as in: `before` and `after` zeros around them,
    together (kernel_size - 1) x dilation."""

    out_channels: Dimension
    kernel_size: Dimension
    dilation: Dimension = 1
    groups: Dimension = 1
    before: Count
    after: Count

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """[out_channels]."""
        super().infer(inputs)
        expect_floats(inputs[0])
        expect("number of the input's axes", 1, len(inputs[0].features))
        expect("before and after together", (self.kernel_size - 1) * self.dilation, self.before + self.after)
        if inputs[0].features[0] % self.groups or self.out_channels % self.groups:
            raise ValueError(f"groups: expected a divisor of {inputs[0].features[0]} and {self.out_channels} channels")
        return (inputs[0].with_features(self.out_channels),)

    def weights(self, inputs: Sequence[Value]) -> dict[str, Weight]:
        """As `torch.nn.Conv1d`."""
        weight = Weight((self.out_channels, inputs[0].features[0] // self.groups, self.kernel_size))
        return {"weight": weight, "bias": Weight((self.out_channels,), is_optional=True)}

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        weight, bias, pads = weights["weight"], weights.get("bias"), (self.before, self.after)
        dilation, groups = self.dilation, self.groups

        def run(sizes: Sizes, x: torch.Tensor) -> torch.Tensor:
            padded = torch.constant_pad_nd(by_time(sizes, x).permute(1, 2, 0), pads)
            y = torch.conv1d(padded, weight, bias, 1, 0, dilation, groups)
            return y.permute(2, 0, 1).flatten(0, 1)

        return run


class TimeAttention(_Whole):
    """`time_attention`: softmax(query key^T / sqrt(d)) value over a row's steps, by heads. Query, key and value are
    per step [heads x d]; a query per row gives a result per row."""

    arity: ClassVar[tuple[int, int]] = (3, 3)
    num_heads: Dimension = 1
    scale: Number | None = None
    """Of the products; without one 1 / sqrt(d)."""

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The value's features, per what the query is."""
        super().infer(inputs[1:])
        expect_floats(*inputs)
        query, key, value = inputs
        for given in inputs:
            expect("number of an input's axes", 1, len(given.features))
            if given.features[0] % self.num_heads:
                raise ValueError(f"features: expected a multiple of {self.num_heads} heads, got {given.features[0]}")
        expect("key's features", query.features, key.features)
        if query.per is Per.MODEL:
            raise ValueError("query: expected one per step or row, got a constant")
        return (Value(value.features, DType.FLOAT32, query.per),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        heads, per_row, scale = self.num_heads, inputs[0].per is Per.ROW, self.scale

        def by_head(sizes: Sizes, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(-1, int(sizes[0]), heads, x.shape[-1] // heads).permute(1, 2, 0, 3)  # [B, heads, T, d]

        def run(sizes: Sizes, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            q, k, v = (by_head(sizes, x) for x in (query, key, value))
            y = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scale).permute(2, 0, 1, 3)
            y = y.flatten(2)  # [T, B, heads x d]
            return y[0] if per_row else y.flatten(0, 1)

        return run
