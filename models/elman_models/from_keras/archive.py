"""The parts of a Keras file: what the model is, as JSON, and its weights, as HDF5. Nothing is unpacked to disk."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from elman_models.export.refusals import ExportError
from elman_models.from_keras.hdf5 import Hdf5

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MAX_CONFIG_BYTES = 1 << 24
MAX_WEIGHTS_BYTES = 1 << 32
MAX_RATIO = 200
"""How many times larger than packed a part may be: weights hardly shrink."""
_MIN_RATIO_BYTES = 1 << 20
"""Below it any ratio is good."""


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
    return KerasFile(_json(text, "model_config"), weights, is_legacy=True)


def _of_zip(path: Path) -> KerasFile:
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive)
            config = _read(archive, CONFIG, MAX_CONFIG_BYTES)
            weights = _read(archive, WEIGHTS, MAX_WEIGHTS_BYTES)
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, NotImplementedError) as error:
        raise ExportError(f"is damaged: a zip archive that cannot be read to its end: {error}") from error
    return KerasFile(_json(config, CONFIG), Hdf5(weights, WEIGHTS), is_legacy=False)


def _check(archive: zipfile.ZipFile) -> None:
    names = archive.namelist()
    for name in names:
        if ".." in PurePosixPath(name).parts or name.startswith(("/", "\\")) or ":" in name:
            raise ExportError(f"{name!r}: a name that leads out of the archive")
        if names.count(name) > 1:
            raise ExportError(f"{name}: stands twice in the archive")
    for name in (CONFIG, WEIGHTS):
        if name not in names:
            raise ExportError(f"has no {name}; expected what model.save('NAME.keras') writes")


def _read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    info = archive.getinfo(name)
    packed, size = info.compress_size, info.file_size
    if size > limit:
        raise ExportError(f"{name}: expected at most {limit} bytes, got {size}")
    if size > _MIN_RATIO_BYTES and size > MAX_RATIO * packed:
        raise ExportError(f"{name}: {size} bytes in {packed}: a zip bomb")
    with archive.open(info) as file:
        data = file.read(size + 1)
    if len(data) != size:
        raise ExportError(f"{name}: expected {size} bytes, got {'more' if len(data) > size else len(data)}")
    return data


def _json(text: bytes | str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{where}: is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ExportError(f"{where}: expected a mapping, got {type(found).__name__}")
    return found


__all__ = ["KerasFile", "read_keras"]
