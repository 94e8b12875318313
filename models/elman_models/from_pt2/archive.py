"""The parts of a .pt2 file: the program, as JSON, and raw tensors. Nothing is unpickled or unpacked to disk."""

import re
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from elman_models.export.refusals import ExportError
from elman_models.export.zip_parts import UNREADABLE, json_mapping, part_names, read_part
from elman_models.from_pt2.stored_tensors import stored_tensor, wider

MAX_JSON_BYTES = 1 << 26
MAX_TENSOR_BYTES = 1 << 32
"""Of all tensors together, as they are in the file; and as they are computed with, in which many may share the same
bytes."""
_OLD = ("serialized_exported_program.json", "serialized_state_dict.pt", "serialized_state_dict.json")
_AGAIN = "export the module again with a newer torch, torch.export.save, or give the module: elman_models.pack"


@dataclass(frozen=True)
class Pt2File:
    """An exported program in a file."""

    program: Mapping[str, Any]
    """As torch's schema of exported programs has it: `graph_module` and so on."""
    tensors: Mapping[str, torch.Tensor]
    """Parameters, buffers and constants by name, as they are in the file."""


def read_pt2(path: Path) -> Pt2File:
    """The parts of `path`.

    Raises:
        ExportError: missing, damaged, another kind of file, with tensors that are pickles, or made to harm.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _Parts(archive).file()
    except FileNotFoundError as error:
        raise ExportError("no such file") from error
    except UNREADABLE as error:
        raise ExportError(f"is not a .pt2 file, or damaged: a zip archive that cannot be read: {error}") from error


class _Parts:
    """The members of the zip, by their names below its only folder."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._left = self._computed_left = MAX_TENSOR_BYTES
        self._storages: dict[str, bytearray] = {}
        names = part_names(archive)
        self._names = {name.partition("/")[2] or name: name for name in names}
        if len(self._names) < len(names):
            raise ExportError("its parts are in several folders; expected one, as torch.export.save writes")

    def file(self) -> Pt2File:
        """All that is needed of it."""
        model = self._model()
        if "byteorder" in self._names:
            order = self._read("byteorder", 16).decode("ascii", "replace")
            if order != sys.byteorder:
                raise ExportError(f"byteorder: expected {sys.byteorder}, got {order!r}")
        program = self._json(f"models/{model}.json")
        tensors: dict[str, torch.Tensor] = {}
        for kind in ("weights", "constants"):
            tensors |= self._tensors(f"data/{kind}", f"{model}_{kind}_config.json")
        return Pt2File(program, tensors)

    def _model(self) -> str:
        """The name of the only model."""
        if any(name.startswith("data/aotinductor/") for name in self._names):
            raise ExportError("holds a compiled model (AOTInductor), which is code; export it by torch.export.save")
        models = [m[1] for name in self._names if (m := re.fullmatch(r"models/([^/]+)\.json", name))]
        if len(models) == 1:
            return models[0]
        if models:
            raise ExportError(f"holds several models: {', '.join(sorted(models)[:8])}; expected one")
        old = next((name for name in self._archive.namelist() if name.rpartition("/")[2] in _OLD), None)
        if old:
            raise ExportError(f"{old}: of an older torch, whose weights are a pickle, which is not opened. {_AGAIN}")
        raise ExportError("has no models/NAME.json; expected what torch.export.save writes")

    def _tensors(self, folder: str, name: str) -> dict[str, torch.Tensor]:
        config = self._json(f"{folder}/{name}").get("config")
        if not isinstance(config, Mapping):
            raise ExportError(f"{folder}/{name}: expected a mapping `config`")
        return {str(key): self._tensor(folder, str(key), one) for key, one in config.items()}

    def _tensor(self, folder: str, name: str, one: object) -> torch.Tensor:
        if not isinstance(one, Mapping):
            raise ExportError(f"tensor {name}: expected a mapping, got {type(one).__name__}")
        path = one.get("path_name")
        if one.get("use_pickle") is not False:
            raise ExportError(f"tensor {name}: is a pickle ({folder}/{path}), which is not opened. {_AGAIN}")
        if not isinstance(path, str) or not re.fullmatch(r"(weight|tensor)_\d{1,9}", path):
            raise ExportError(f"tensor {name}: path_name: expected one like weight_0, got {str(path)[:80]!r}")
        found = stored_tensor(f"tensor {name}", self._raw(f"{folder}/{path}"), one.get("tensor_meta"))
        self._computed_left -= found.numel() * wider(found.dtype).itemsize
        if self._computed_left < 0:
            raise ExportError(f"tensor {name}: with it more than {MAX_TENSOR_BYTES} bytes as they are computed with")
        return found

    def _raw(self, name: str) -> bytearray:
        """Of a tensor; several may share it."""
        if name not in self._storages:
            self._storages[name] = bytearray(self._read(name, self._left))
            self._left -= len(self._storages[name])
        return self._storages[name]

    def _read(self, name: str, limit: int) -> bytes:
        if name not in self._names:
            raise ExportError(f"has no {name}; expected what torch.export.save writes")
        return read_part(self._archive, self._names[name], limit)

    def _json(self, name: str) -> dict[str, Any]:
        return json_mapping(self._read(name, MAX_JSON_BYTES), name)


__all__ = ["Pt2File", "read_pt2"]
