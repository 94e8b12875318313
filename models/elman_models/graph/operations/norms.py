"""Normalisations, as in evaluation."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch.nn import functional

from elman_models.graph.operations.operation import (
    Dimension,
    Features,
    Number,
    Operation,
    Run,
    Weight,
    expect,
    expect_floats,
)
from elman_models.graph.value import Value

Eps = Annotated[Number, Field(ge=0)]


class _OverLast(Operation):
    normalized_shape: Annotated[Features, Field(min_length=1)]
    """The last axes of the features."""

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """As the input."""
        expect_floats(inputs[0])
        expect("last features", self.normalized_shape, inputs[0].features[-len(self.normalized_shape) :])
        return (inputs[0],)


class LayerNorm(_OverLast):
    """`layer_norm`."""

    eps: Eps = 1e-5

    def weights(self, inputs: Sequence[Value]) -> dict[str, Weight]:
        """Scale and shift, where there are."""
        each = Weight(self.normalized_shape, is_optional=True)
        return {"weight": each, "bias": each}

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        shape, weight, bias, eps = list(self.normalized_shape), weights.get("weight"), weights.get("bias"), self.eps
        # torch.nn.functional's wrapper costs more than the kernel at one row
        return lambda x: torch.layer_norm(x, shape, weight, bias, eps)


class RmsNorm(_OverLast):
    """`rms_norm`; without `eps` that of float32, as torch has it."""

    eps: Eps | None = None

    def weights(self, inputs: Sequence[Value]) -> dict[str, Weight]:
        """The scale, where there is one."""
        return {"weight": Weight(self.normalized_shape, is_optional=True)}

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        shape, weight, eps = list(self.normalized_shape), weights.get("weight"), self.eps
        return lambda x: torch.rms_norm(x, shape, weight, eps)


class GroupNorm(Operation):
    """`group_norm`: the first axis of the features is that of channels."""

    num_groups: Dimension
    eps: Eps = 1e-5

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """As the input."""
        expect_floats(inputs[0])
        if not inputs[0].features or inputs[0].features[0] % self.num_groups:
            raise ValueError(f"channels of {list(inputs[0].features)}: expected a multiple of {self.num_groups}")
        if not inputs[0].has_batch:
            raise ValueError("input: expected one per step or row, got a constant")
        return (inputs[0],)

    def weights(self, inputs: Sequence[Value]) -> dict[str, Weight]:
        """Scale and shift of channels, where there are."""
        each = Weight(inputs[0].features[:1], is_optional=True)
        return {"weight": each, "bias": each}

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        groups, weight, bias, eps = self.num_groups, weights.get("weight"), weights.get("bias"), self.eps
        return lambda x: functional.group_norm(x, groups, weight, bias, eps)


class BatchNorm(Operation):
    """`batch_norm`: by what was learned; the first axis of the features is that of channels."""

    eps: Eps = 1e-5

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """As the input."""
        expect_floats(inputs[0])
        if not inputs[0].features:
            raise ValueError("features: expected an axis of channels, got none")
        return (inputs[0],)

    def weights(self, inputs: Sequence[Value]) -> dict[str, Weight]:
        """Mean and variance; scale and shift, where there are."""
        channels = inputs[0].features[:1]
        learned, each = Weight(channels), Weight(channels, is_optional=True)
        return {"running_mean": learned, "running_var": learned, "weight": each, "bias": each}

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        scale, shift = self.scale_and_shift(inputs, weights)
        return lambda x: torch.addcmul(shift, x, scale)

    def scale_and_shift(
        self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each channel, broadcasting to the features: what it comes to."""
        # One scale and shift of each channel: two passes less. As double, so that it is rounded once.
        scale = (weights["running_var"].double() + self.eps).rsqrt()
        if "weight" in weights:
            scale = scale * weights["weight"].double()
        shift = -weights["running_mean"].double() * scale
        if "bias" in weights:
            shift = shift + weights["bias"].double()
        axes = (-1, *(1,) * (len(inputs[0].features) - 1))
        return scale.float().view(axes), shift.float().view(axes)


class Affine(Operation):
    """`affine`: (x - mean) * weight + bias, each a tensor of `shape`, where there is one; of inputs, of outputs."""

    shape: Features = ()
    """Broadcasts to the features."""

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """As the input."""
        expect_floats(inputs[0])
        given = inputs[0].features[len(inputs[0].features) - len(self.shape) :]
        if len(self.shape) > len(inputs[0].features) or any(
            size not in (1, g) for size, g in zip(self.shape, given, strict=True)
        ):
            raise ValueError(f"shape {list(self.shape)} does not go with features {list(inputs[0].features)}")
        return (inputs[0],)

    def weights(self, inputs: Sequence[Value]) -> dict[str, Weight]:
        """Those that there are."""
        each = Weight(self.shape, is_optional=True)
        return {"mean": each, "weight": each, "bias": each}

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        mean, weight, bias = weights.get("mean"), weights.get("weight"), weights.get("bias")

        def run(x: torch.Tensor) -> torch.Tensor:
            x = x if mean is None else x - mean
            if weight is None or bias is None:
                x = x if weight is None else x * weight
                return x if bias is None else x + bias
            return torch.addcmul(bias, x, weight)

        return run
