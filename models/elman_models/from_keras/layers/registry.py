"""Layers by the name of their class."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from elman_models.from_keras.model import Layer
from elman_models.from_keras.weights import LayerWeights, Weights
from elman_models.from_onnx.sizes import check_numel


@dataclass(frozen=True)
class Building:
    """A layer that is built."""

    layer: Layer
    weights: Weights
    is_legacy: bool
    """Whether the file is an .h5."""
    notes: list[str] = field(default_factory=list)
    """What is assumed, a line each; to be added to."""

    def own(self, *parts: str) -> LayerWeights:
        """Its weights; `parts`: where they are within it in a .keras file."""
        return self.weights.of(self.layer, parts or ("",))

    def integer(self, name: str, default: int | None = None) -> int:
        """A number of its config."""
        value = self.layer.config.get(name, default)
        value = value[0] if isinstance(value, list | tuple) and len(value) == 1 else value
        if type(value) is not int or value < 0:
            raise self.layer.refuse(f"{name}: expected a number, got {value!r:.80}")
        return value

    def number(self, name: str, default: float) -> float:
        """A number of its config."""
        value = self.layer.config.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.layer.refuse(f"{name}: expected a number, got {value!r:.80}")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """A truth of its config."""
        return bool(self.layer.config.get(name, default))

    def within(self, *shape: int) -> None:
        """Raises ExportError where a value of that shape is too large."""
        try:
            check_numel(shape)
        except ValueError as error:
            raise self.layer.refuse(str(error)) from error

    def only(self, name: str, *allowed: object) -> None:
        """Raises ExportError where the config says something else; what it leaves out is the first of those."""
        value = self.layer.config.get(name, allowed[0])
        value = tuple(value) if isinstance(value, list) else value
        if value not in allowed:
            expected = " or ".join(str(one) for one in allowed)
            raise self.layer.refuse(f"{name}: expected {expected}, got {value!r:.80}")


Builder = Callable[[Building], nn.Module]
"""Gives the module, which is called with what the layer is: tensors [B, T, *features], or [B, *features]."""
LAYERS: dict[str, Builder] = {}


def builds(*names: str) -> Callable[[Builder], Builder]:
    """Registers a builder."""

    def register(builder: Builder) -> Builder:
        LAYERS.update(dict.fromkeys(names, builder))
        return builder

    return register
