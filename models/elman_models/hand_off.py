"""Linear maps that a model's states are made by where a session begins from another model's state."""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import nn

from elman_models.spec import StateFromSpec

_ACTIVATIONS: Final[dict[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "silu": nn.functional.silu,
    "selu": nn.functional.selu,
    "softsign": nn.functional.softsign,
}


class LinearMap:
    """From [layers, rows, in_features] to [layers, rows, size], each layer by itself; as `torch.nn.Linear`, and an
    activation behind it."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, activation: str | None) -> None:
        self.weight = weight  # [size, in_features]
        self.bias = bias  # [size]
        self._activation = _ACTIVATIONS[activation] if activation else None

    @property
    def in_features(self) -> int:
        """Of what it takes."""
        return self.weight.shape[1]

    @property
    def num_bytes(self) -> int:
        """Of its weights."""
        return self.weight.nbytes + (0 if self.bias is None else self.bias.nbytes)

    @torch.inference_mode()
    def __call__(self, given: torch.Tensor) -> torch.Tensor:
        """[layers, rows, size] of [layers, rows, in_features]."""
        made = nn.functional.linear(given, self.weight, self.bias)
        return self._activation(made) if self._activation else made


def linear_maps(
    hand_off: Mapping[str, StateFromSpec] | None, weights: Mapping[str, torch.Tensor], device: torch.device
) -> dict[str, LinearMap]:
    """By the states that they make; `weights` by the names of the spec's `parameter_shapes()`, which are copied."""
    made = {}
    for name, one in (hand_off or {}).items():
        if one.linear:
            own = [weights.get(f"hand_off.{name}.{part}") for part in ("weight", "bias")]
            weight, bias = (None if t is None else t.to(device, copy=True).contiguous() for t in own)
            if weight is not None:
                made[name] = LinearMap(weight, bias, one.activation)
    return made
