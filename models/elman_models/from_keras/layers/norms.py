"""Normalisations, as in evaluation, over the last axis.

Keras: `keras/src/layers/normalization`.
"""

import torch
from torch import nn
from torch.nn import functional

from elman_models.from_keras.layers.registry import Building, builds


class LayerNorm(nn.Module):
    """(x - mean) / sqrt(var + epsilon) * gamma + beta over the last axis."""

    def __init__(self, building: Building) -> None:
        super().__init__()
        own = building.own()
        scale, center = building.flag("scale", True), building.flag("center", True)
        self.register_buffer("weight", own.take("gamma", None) if scale else None)
        self.register_buffer("bias", own.take("beta", None) if center else None)
        self._eps = building.number("epsilon", 1e-3)
        own.end()

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """[..., features]."""
        return functional.layer_norm(
            given, (given.shape[-1],), self._buffers["weight"], self._buffers["bias"], self._eps
        )


class BatchNorm(nn.Module):
    """(x - moving_mean) / sqrt(moving_variance + epsilon) * gamma + beta of each feature."""

    def __init__(self, building: Building) -> None:
        super().__init__()
        own = building.own()
        scale, center = building.flag("scale", True), building.flag("center", True)
        self.register_buffer("weight", own.take("gamma", None) if scale else None)
        self.register_buffer("bias", own.take("beta", None) if center else None)
        self.register_buffer("mean", own.take("moving_mean", None))
        self.register_buffer("variance", own.take("moving_variance", None))
        self._eps = building.number("epsilon", 1e-3)
        own.end()

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """[B, T, features] or [B, features]."""
        is_sequence = given.dim() > 2
        given = given.transpose(1, -1) if is_sequence else given
        mean, variance = self.get_buffer("mean"), self.get_buffer("variance")
        weight, bias = self._buffers["weight"], self._buffers["bias"]
        given = functional.batch_norm(given, mean, variance, weight, bias, False, 0.0, self._eps)
        return given.transpose(1, -1) if is_sequence else given


@builds("LayerNormalization")
def _layer_norm(building: Building) -> nn.Module:
    building.only("axis", -1, (-1,), 2, (2,))
    building.only("rms_scaling", False)
    return LayerNorm(building)


@builds("BatchNormalization")
def _batch_norm(building: Building) -> nn.Module:
    building.only("axis", -1, (-1,), 2, (2,))
    return BatchNorm(building)
