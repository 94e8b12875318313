"""A convolution over time that looks back alone: its last inputs are state."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch.nn import functional

from elman_models.graph.operations.operation import (
    Dimension,
    Function,
    Operation,
    Run,
    StateShape,
    Weight,
    expect,
    expect_floats,
)
from elman_models.graph.value import Per, Value
from elman_models.layout import step_offsets

Lookback = Annotated[int, Field(ge=1, le=1 << 12, strict=True)]


class CausalConv1d(Operation):
    """`causal_conv1d`: `torch.nn.Conv1d` over time, stride 1, after (kernel_size - 1) x dilation zeros, or what the
    state holds: `cache` [B, channels, (kernel_size - 1) x dilation], the last inputs, the oldest first."""

    needs_sizes: ClassVar[bool] = True
    out_channels: Dimension
    kernel_size: Lookback
    dilation: Lookback = 1
    groups: Dimension = 1

    @property
    def lookback(self) -> int:
        """Inputs before a step's own that it looks at."""
        return (self.kernel_size - 1) * self.dilation

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """[out_channels]."""
        expect_floats(inputs[0])
        expect("what the input is per", Per.STEP, inputs[0].per)
        expect("number of the input's axes", 1, len(inputs[0].features))
        if inputs[0].features[0] % self.groups or self.out_channels % self.groups:
            raise ValueError(f"groups: expected a divisor of {inputs[0].features[0]} and {self.out_channels} channels")
        return (inputs[0].with_features(self.out_channels),)

    def weights(self, inputs: Sequence[Value]) -> dict[str, Weight]:
        """As `torch.nn.Conv1d`."""
        weight = Weight((self.out_channels, inputs[0].features[0] // self.groups, self.kernel_size))
        return {"weight": weight, "bias": Weight((self.out_channels,), is_optional=True)}

    def states(self, inputs: Sequence[Value]) -> dict[str, StateShape]:
        """The last inputs, where it looks back."""
        return {"cache": StateShape((inputs[0].features[0], self.lookback))} if self.lookback else {}

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        convolve = self._convolution(weights["weight"], weights.get("bias"))
        lookback = self.lookback
        if not lookback:
            return lambda _sizes, x: convolve(x[..., None])[..., 0]

        def run(sizes: NDArray[np.int64], x: torch.Tensor, cache: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            if len(sizes) == 1:
                seen = torch.cat([cache, x[:, :, None]], 2)
                return convolve(seen)[..., 0], seen[..., 1:]
            return _over_segments(convolve, lookback, sizes, x, cache)

        return run

    def _convolution(self, weight: torch.Tensor, bias: torch.Tensor | None) -> Function:
        # [B, channels, lookback + T] to [B, out_channels, T]. Of one step it is a linear layer, and a third as dear.
        dilation, groups, lookback = self.dilation, self.groups, self.lookback
        flat = weight.flatten(1)

        def convolve(x: torch.Tensor) -> torch.Tensor:
            if groups == 1 and x.shape[2] == lookback + 1:
                return functional.linear(x[..., ::dilation].flatten(1), flat, bias)[..., None]
            return torch.conv1d(x, weight, bias, 1, 0, dilation, groups)

        return convolve


def _over_segments(
    convolve: Function, lookback: int, sizes: NDArray[np.int64], x: torch.Tensor, cache: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Segment after segment: the steps between two changes of the set of rows."""
    begins = [*np.flatnonzero(np.diff(sizes, prepend=-1)).tolist(), len(sizes)]
    offsets = [*step_offsets(sizes).tolist(), len(x)]
    outputs, ended = [], []
    for begin, end in pairwise(begins):
        rows, going_on = int(sizes[begin]), int(sizes[end]) if end < len(sizes) else 0
        part = x[offsets[begin] : offsets[end]].view(end - begin, rows, -1)  # [steps, rows, channels]
        seen = torch.cat([cache, part.permute(1, 2, 0)], 2)
        outputs.append(convolve(seen).permute(2, 0, 1).flatten(0, 1))
        last = seen[..., -lookback:]
        ended.append(last[going_on:])
        cache = last[:going_on]
    return torch.cat(outputs), torch.cat(ended[::-1])
