"""Plan tables on disk, so that a model is measured once per machine."""

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from elman_models.plans.table import Entry, Shape
from elman_models.spec import ModelSpec

FORMAT = 2
"""Of the files: another one is measured again."""
_PACKAGES = ("elman-models", "torch", "onnxruntime")


class TableRow(BaseModel):
    """An entry, as it is written down."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: Annotated[int, Field(ge=1)]
    steps: Annotated[int, Field(ge=1)]
    is_ragged: bool
    plan: str
    seconds: dict[str, Annotated[float, Field(gt=0)]]


class _CacheFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    key: dict[str, str]
    entries: list[TableRow]


class PlanCache:
    """Files in one folder, each named by what its times depend on: machine, threads, model's sizes, versions."""

    def __init__(self, folder: Path, *, again: bool = False) -> None:
        """Reads and writes in `folder`, which need not exist. `again`: as if nothing were kept there yet."""
        self._folder = folder
        self._again = again

    @classmethod
    def of_user(cls) -> "PlanCache":
        """In $ELMAN_CACHE, or ~/.cache/elman."""
        root = os.environ.get("ELMAN_CACHE")
        return cls((Path(root) if root else Path.home() / ".cache" / "elman") / "plans")

    def read(self, key: Mapping[str, str]) -> dict[Shape, Entry] | None:
        """The entries kept for `key`; None where there are none, or none that can be read."""
        if self._again:
            return None
        try:
            file = _CacheFile.model_validate_json(self._path(key).read_bytes())
        except (OSError, ValidationError):
            return None
        if file.key != dict(key) or not file.entries:
            return None
        return entries_of(file.entries)

    def write(self, key: Mapping[str, str], entries: Mapping[Shape, Entry]) -> None:
        """Keeps `entries`; a reader sees the old file or the new one.

        Raises:
            OSError: the folder cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self._folder, suffix=".part", delete=False) as file:
            file.write(_CacheFile(key=dict(key), entries=rows_of(entries)).model_dump_json(indent=1))
        Path(file.name).replace(self._path(key))

    def _path(self, key: Mapping[str, str]) -> Path:
        digest = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()
        return self._folder / f"{digest[:32]}.json"


def rows_of(entries: Mapping[Shape, Entry]) -> list[TableRow]:
    """The entries as they are written down."""
    return [
        TableRow(rows=s.rows, steps=s.steps, is_ragged=s.is_ragged, plan=e.plan, seconds=dict(e.seconds))
        for s, e in entries.items()
    ]


def entries_of(rows: Iterable[TableRow]) -> dict[Shape, Entry]:
    """The inverse of `rows_of`."""
    return {Shape(row.rows, row.steps, row.is_ragged): Entry(row.plan, row.seconds) for row in rows}


def cache_key(spec: ModelSpec, device: torch.device) -> dict[str, str]:
    """What measured times depend on, in words; a model's weights count by their shapes, its name does not."""
    return surroundings(device) | {
        "cell": f"{spec.cell}, {spec.num_layers} layers, bidirectional {spec.bidirectional}, {spec.precision}",
        "weights": digest(spec.parameter_shapes()),
    }


def surroundings(device: torch.device) -> dict[str, str]:
    """The part of a key that is the same for all models."""
    packages = {package: _version(package) for package in _PACKAGES}
    threads = str(torch.get_num_threads())
    return {"format": str(FORMAT), "machine": machine(device), "threads": threads, **packages}


def digest(what: object) -> str:
    """Of something that JSON has, in a few letters."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def machine(device: torch.device) -> str:
    """The processor that runs the plans, its cores, and what it can do."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, compute {torch.cuda.get_device_capability(device)}"
    info = _cpu_info()
    flags = hashlib.sha256(info.get("flags", info.get("Features", "")).encode()).hexdigest()[:8]
    name = info.get("model name", platform.processor() or platform.machine())
    told = os.environ.get("ONEDNN_MAX_CPU_ISA", "all")  # a processor may be told to use less than it has
    used = f"uses {torch.backends.cpu.get_cpu_capability()}, oneDNN {told}"
    return f"{name}, {os.cpu_count()} cores, flags {flags}, {used}"


def _cpu_info() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; nothing where there is none."""
    try:
        first = Path("/proc/cpuinfo").read_text(errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
