"""A Keras model as plain records: layers, and which of their results each is called with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elman_models.export.refusals import ExportError

MAX_LAYERS = 10_000


@dataclass(frozen=True)
class TensorOf:
    """A result of a layer: which of its calls, which of several."""

    layer: str
    call: int = 0
    index: int = 0


@dataclass(frozen=True)
class LayerCall:
    """A layer called with results of others, and numbers."""

    arguments: tuple[object, ...]
    """TensorOf, numbers, or tuples of them."""
    masks: tuple[TensorOf, ...] = ()


@dataclass(frozen=True)
class Layer:
    """One layer."""

    kind: str
    """Its class, by name."""
    name: str
    config: Mapping[str, Any]
    calls: tuple[LayerCall, ...] = ()
    is_operation: bool = False
    """Whether it is one of `keras.ops`, which has no weights."""

    def __str__(self) -> str:
        return f"layer {self.name} ({self.kind})"

    def refuse(self, what: str, instead: str = "") -> ExportError:
        """An error, to be raised."""
        return ExportError(f"{self}: {what}" + (f". Instead: {instead}" if instead else ""))


@dataclass(frozen=True)
class Input:
    """An input: its layer's name, its sizes without the batch, of those that are open None."""

    name: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class KerasModel:
    """A Sequential or Functional model."""

    name: str
    layers: tuple[Layer, ...]
    inputs: tuple[Input, ...]
    outputs: Mapping[str, TensorOf]
    """By name."""
