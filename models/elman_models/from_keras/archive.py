"""The parts of a Keras file: what the model is, as JSON, and its weights, as HDF5. Nothing is unpacked to disk."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elman_models.export.refusals import ExportError
from elman_models.export.zip_parts import UNREADABLE, json_mapping, part_names, read_part
from elman_models.from_keras.hdf5 import Hdf5

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MAX_CONFIG_BYTES = 1 << 24
MAX_WEIGHTS_BYTES = 1 << 32


@dataclass(frozen=True)
class KerasFile:
    """A model in a file."""

    config: dict[str, Any]
    """`class_name`, `config` and so on."""
    weights: Hdf5
    is_legacy: bool
    """Whether weights are by layer and name, as in .h5, or by kind and number, as in .keras."""


def read_keras(path: Path) -> KerasFile:
    """The parts of `path`, .keras or .h5.

    Raises:
        ExportError: missing, damaged, another kind of file, or made to harm.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except FileNotFoundError as error:
        raise ExportError("no such file") from error
    except OSError as error:
        raise ExportError(f"cannot be read: {error.strerror}") from error
    if start.startswith(b"PK"):
        return _of_zip(path)
    if start == b"\x89HDF\r\n\x1a\n":
        return _of_hdf5(path)
    raise ExportError("is neither a zip archive, as .keras files are, nor an HDF5 file, as .h5 files are; or cut short")


def _of_hdf5(path: Path) -> KerasFile:
    size = path.stat().st_size
    if size > MAX_WEIGHTS_BYTES:
        raise ExportError(f"expected at most {MAX_WEIGHTS_BYTES} bytes, got {size}")
    weights = Hdf5(path.read_bytes(), path.name)
    text = weights.text_attribute("model_config")
    if text is None:
        raise ExportError("holds weights alone; expected a whole model, as model.save(...) writes it")
    return KerasFile(json_mapping(text, "model_config"), weights, is_legacy=True)


def _of_zip(path: Path) -> KerasFile:
    try:
        with zipfile.ZipFile(path) as archive:
            config, weights = _parts(archive)
    except UNREADABLE as error:
        raise ExportError(f"is damaged: a zip archive that cannot be read to its end: {error}") from error
    return KerasFile(json_mapping(config, CONFIG), Hdf5(weights, WEIGHTS), is_legacy=False)


def _parts(archive: zipfile.ZipFile) -> tuple[bytes, bytes]:
    """The config and the weights."""
    names = part_names(archive)
    for name in (CONFIG, WEIGHTS):
        if name not in names:
            raise ExportError(f"has no {name}; expected what model.save('NAME.keras') writes")
    return read_part(archive, CONFIG, MAX_CONFIG_BYTES), read_part(archive, WEIGHTS, MAX_WEIGHTS_BYTES)


__all__ = ["KerasFile", "read_keras"]
