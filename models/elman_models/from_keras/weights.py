"""A layer's weights in Keras's order, from both kinds of file."""

import re
from collections.abc import Iterator, Sequence

import torch

from elman_models.export.refusals import ExportError
from elman_models.from_keras.hdf5 import Floats, Hdf5
from elman_models.from_keras.model import Layer

Shape = tuple[int | None, ...]
"""None: any size."""


class LayerWeights:
    """Those of one layer."""

    def __init__(self, layer: Layer, arrays: Iterator[tuple[str, Floats]]) -> None:
        self._layer = layer
        self._arrays = arrays

    def take(self, what: str, *shape: int | None) -> torch.Tensor:
        """The next one.

        Raises:
            ExportError: there is none, it has another shape, or numbers that are not finite.
        """
        found = next(self._arrays, None)
        if found is None:
            raise self._layer.refuse(f"weight {what}: is missing from the file")
        name, array = found
        fits = array.ndim == len(shape) and all(w in (None, g) for w, g in zip(shape, array.shape, strict=True))
        if not fits:
            wanted = [size if size is not None else "any" for size in shape]
            raise self._layer.refuse(f"weight {what} ({name}): expected shape {wanted}, got {list(array.shape)}")
        tensor = torch.from_numpy(array)
        if not bool(torch.isfinite(tensor).all()):
            raise self._layer.refuse(f"weight {what} ({name}): expected finite numbers")
        return tensor

    def end(self) -> None:
        """Raises ExportError where there is one more."""
        found = next(self._arrays, None)
        if found is not None:
            raise self._layer.refuse(f"weight {found[0]}: is one more than the layer has")


class Weights:
    """Those of a model's layers."""

    def __init__(self, file: Hdf5, layers: Sequence[Layer], *, is_legacy: bool, prefix: str = "") -> None:
        self._file = file
        self._is_legacy = is_legacy
        self._groups = _legacy_groups(layers) if is_legacy else _groups(layers, prefix)

    def of(self, layer: Layer, parts: Sequence[str] = ("",)) -> LayerWeights:
        """`parts`: where in a .keras file they are, within the layer: `cell`, `forward_layer/cell`."""
        group = self._groups[layer.name]
        arrays = self._named(layer, group) if self._is_legacy else self._numbered(layer, group, parts)
        return LayerWeights(layer, arrays)

    def inside(self, layer: Layer, layers: Sequence[Layer]) -> "Weights":
        """Those of a model within the model.

        Raises:
            ExportError: an .h5 file, where they stand in another order.
        """
        if self._is_legacy:
            raise layer.refuse("a model within the model, in an .h5 file", "save it as .keras")
        return Weights(self._file, layers, is_legacy=False, prefix=f"{self._groups[layer.name]}/")

    def _numbered(self, layer: Layer, group: str, parts: Sequence[str]) -> Iterator[tuple[str, Floats]]:
        self._check_name(layer, group)
        for part in parts:
            number, place = 0, f"{group}/{part}/vars" if part else f"{group}/vars"
            while self._file.has(f"{place}/{number}"):
                yield f"{place}/{number}", self._file.floats(f"{place}/{number}")
                number += 1

    def _check_name(self, layer: Layer, group: str) -> None:
        """Groups are numbered in the order of the layers; newer files say whose each is, too."""
        name = self._file.text_attribute("name", f"{group}/vars") if self._file.has(f"{group}/vars") else None
        if name is not None and name != layer.name:
            raise layer.refuse(f"its weights are those of {name} in the file ({group})")

    def _named(self, layer: Layer, group: str) -> Iterator[tuple[str, Floats]]:
        if not self._file.has(group):
            raise ExportError(f"{layer}: its weights are missing ({group})")
        for name in self._file.names_attribute(group, "weight_names") or ():
            if ".." in name.split("/"):
                raise layer.refuse(f"weight {name}: leads out of the layer")
            yield name, self._file.floats(f"{group}/{name}")


def _legacy_groups(layers: Sequence[Layer]) -> dict[str, str]:
    return {layer.name: f"model_weights/{layer.name}" for layer in layers}


def _groups(layers: Sequence[Layer], prefix: str) -> dict[str, str]:
    """As Keras 3 names them: the class in snake case, from the second on with a number."""
    found: dict[str, str] = {}
    used: dict[str, int] = {}
    for layer in layers:
        if layer.is_operation:
            continue
        name = snake_case(layer.kind)
        number = used[name] = used.get(name, -1) + 1
        found[layer.name] = f"{prefix}layers/{name}_{number}" if number else f"{prefix}layers/{name}"
    return found


def snake_case(name: str) -> str:
    """`keras.src.utils.naming.to_snake_case`: BatchNormalization to batch_normalization, LSTM to lstm."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
