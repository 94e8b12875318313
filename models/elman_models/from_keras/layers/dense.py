"""Dense, Embedding, and a layer for every step."""

import torch
from torch import nn
from torch.nn import functional

from elman_models.from_keras.layers.activations import activation
from elman_models.from_keras.layers.registry import LAYERS, Building, builds
from elman_models.from_keras.model import Layer
from elman_models.from_keras.weights import LayerWeights, Weights

STEPWISE = ("Dense", "Activation", "Dropout", "LayerNormalization", "BatchNormalization", "ReLU", "LeakyReLU", "ELU")
"""Layers that TimeDistributed may have: what they do is of each step alone anyhow."""


class Dense(nn.Module):
    """activation(x kernel + bias): [..., in] to [..., units]."""

    def __init__(self, building: Building, own: LayerWeights) -> None:
        super().__init__()
        units = building.integer("units")
        self.register_buffer("weight", own.take("kernel", None, units).t().contiguous())
        self.register_buffer("bias", own.take("bias", units) if building.flag("use_bias", True) else None)
        self._activation = activation(building)
        own.end()

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """Of the last axis."""
        product = functional.linear(given, self.get_buffer("weight"), self._buffers["bias"])
        result: torch.Tensor = self._activation(product)
        return result


@builds("Dense")
def _dense(building: Building) -> nn.Module:
    if building.layer.config.get("lora_rank"):
        raise building.layer.refuse("lora_rank: weights of two parts", "merge them before saving")
    return Dense(building, building.own())


@builds("Embedding")
def _embedding(building: Building) -> nn.Module:
    """[B, T] ids to [B, T, output_dim]."""
    size, width, own = building.integer("input_dim"), building.integer("output_dim"), building.own()
    table = nn.Embedding(size, width, _weight=own.take("embeddings", size, width))
    own.end()
    if building.flag("mask_zero", False):
        building.notes.append(
            f"{building.layer}: mask_zero: id 0 is padding after the last step, which nobody sends: a bundle runs each "
            "row to its own length"
        )
    return table


@builds("TimeDistributed")
def _time_distributed(building: Building) -> nn.Module:
    inner = inner_layer(building, "layer")
    if inner.kind not in STEPWISE:
        raise building.layer.refuse(f"of a {inner.kind}; known are {', '.join(STEPWISE)}")
    weights = InnerWeights(building, "layer")
    build = LAYERS[inner.kind]
    return build(Building(inner, weights, building.is_legacy, building.notes))


def inner_layer(building: Building, name: str) -> Layer:
    """A layer in the config of another."""
    from elman_models.from_keras.config import check_own

    given = building.layer.config.get(name)
    if not isinstance(given, dict) or not isinstance(given.get("config"), dict):
        raise building.layer.refuse(f"{name}: expected a layer")
    kind = str(given.get("class_name"))
    check_own(given, kind)
    return Layer(kind, f"{building.layer.name}.{given['config'].get('name', kind)}", given["config"])


class InnerWeights(Weights):
    """Those of a layer within another."""

    def __init__(self, building: Building, part: str) -> None:
        self._outer = building
        self._part = part

    def of(self, layer: Layer, parts: "tuple[str, ...] | list[str]" = ("",)) -> LayerWeights:  # type: ignore[override]
        """Of the outer one."""
        inside = [f"{self._part}/{part}" if part else self._part for part in parts]
        return self._outer.weights.of(self._outer.layer, inside)
