"""Functions of each number, and layers that are one; those that change nothing once a model is trained."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from elman_models.from_keras.layers.registry import Building, builds

Function = Callable[[torch.Tensor], torch.Tensor]

FUNCTIONS: dict[str, Function] = {
    "relu": torch.relu,
    "relu6": functional.relu6,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softmax": partial(torch.softmax, dim=-1),
    "log_softmax": partial(torch.log_softmax, dim=-1),
    "softplus": partial(functional.softplus, threshold=1e30),
    "softsign": functional.softsign,
    "elu": functional.elu,
    "celu": functional.celu,
    "selu": functional.selu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "swish": functional.silu,
    "mish": functional.mish,
    "exponential": torch.exp,
    "leaky_relu": partial(functional.leaky_relu, negative_slope=0.2),
    "log_sigmoid": functional.logsigmoid,
    "hard_silu": functional.hardswish,
    "hard_tanh": functional.hardtanh,
    "tanh_shrink": functional.tanhshrink,
}
"""By the name that Keras 3 gives them (`keras/src/activations`)."""


class Pointwise(nn.Module):
    """A function as a module; None: the same."""

    def __init__(self, function: Function | None = None) -> None:
        super().__init__()
        self._function = function

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """Of all numbers."""
        return given if self._function is None else self._function(given)


def activation(building: Building, name: str = "activation") -> Pointwise:
    """The function that the config names.

    Raises:
        ExportError: it is one of somebody's own, or not known.
    """
    given = building.layer.config.get(name)
    if isinstance(given, Mapping):  # of Keras 3, where it is no plain function
        module = str(given.get("module"))
        inner = given.get("config")
        if module.startswith("keras") and isinstance(inner, str):
            given = inner
    if given in (None, "linear"):
        return Pointwise()
    if given == "hard_sigmoid" and not building.is_legacy:
        return Pointwise(functional.hardsigmoid)
    if not isinstance(given, str) or given not in FUNCTIONS:
        shown = given if isinstance(given, str) else given.get("config") if isinstance(given, Mapping) else given
        known = ", ".join(FUNCTIONS)
        raise building.layer.refuse(f"{name} {shown!r:.80} is not known; known are linear, {known}")
    return Pointwise(FUNCTIONS[given])


@builds("Activation")
def _activation(building: Building) -> nn.Module:
    return activation(building)


@builds("Softmax")
def _softmax(building: Building) -> nn.Module:
    building.only("axis", -1)
    return Pointwise(FUNCTIONS["softmax"])


@builds("ReLU")
def _relu(building: Building) -> nn.Module:
    building.only("threshold", 0.0, 0, None)
    slope = building.number("negative_slope", 0.0) if building.layer.config.get("negative_slope") else 0.0
    highest = building.layer.config.get("max_value")

    def relu(given: torch.Tensor) -> torch.Tensor:
        result = functional.leaky_relu(given, slope) if slope else torch.relu(given)
        return result if highest is None else torch.clamp(result, max=building.number("max_value", 0.0))

    return Pointwise(relu)


@builds("LeakyReLU")
def _leaky_relu(building: Building) -> nn.Module:
    name = "negative_slope" if "negative_slope" in building.layer.config else "alpha"
    return Pointwise(partial(functional.leaky_relu, negative_slope=building.number(name, 0.3)))


@builds("ELU")
def _elu(building: Building) -> nn.Module:
    return Pointwise(partial(functional.elu, alpha=building.number("alpha", 1.0)))


@builds(
    "Dropout",
    "SpatialDropout1D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
    "ActivityRegularization",
    "Identity",
)
def _same(building: Building) -> nn.Module:
    return Pointwise()


@builds("Masking")
def _masking(building: Building) -> nn.Module:
    building.notes.append(
        f"{building.layer}: masked steps are padding after the last one, which nobody sends: a bundle runs each row to "
        "its own length"
    )
    return Pointwise()


@builds("Rescaling")
def _rescaling(building: Building) -> nn.Module:
    scale, offset = building.number("scale", 1.0), building.number("offset", 0.0)
    return Pointwise(lambda given: given * scale + offset)
