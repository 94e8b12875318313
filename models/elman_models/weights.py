"""Weights: named tensors, read from a safetensors file and held against a spec. No pickle is opened here."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from elman_models.errors import WeightsError
from elman_models.graph.spec import GraphSpec
from elman_models.regular_file import read_regular
from elman_models.spec import ModelSpec

# Of the format's dtypes (https://github.com/huggingface/safetensors, "Format") those that a checkpoint may hold.
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""The dtypes that weights may have on disk; all are float32 once loaded."""
_HEADER_BYTES = 100_000_008
"""A safetensors file's header has so many at most."""


def largest_file(spec: ModelSpec | GraphSpec) -> int:
    """Bytes that a file of the spec's tensors can have, in the widest dtypes."""
    return _HEADER_BYTES + 8 * sum(math.prod(shape) for shape in spec.parameter_shapes().values())


def read_safetensors(path: Path, most: int = 1 << 40) -> dict[str, torch.Tensor]:
    """All tensors of `path`, sorted by name, since the library gives them in any order.

    They are copied: a file that is replaced or cut short later changes no loaded model.

    Tied tensors, of which safetensors' `save_model` writes one and names the others in the file's metadata, are all
    there, sharing memory.

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        WeightsError: missing, larger, unreadable, truncated or corrupt, or with a dtype that no checkpoint has.
    """
    try:
        data = read_regular(path, most)
        entries = safetensors.deserialize(data)  # type: ignore[no-untyped-call, unused-ignore]
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file") from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path}: cannot be read as safetensors: {error}") from error
    tensors = {name: _tensor(path, name, entry["dtype"], entry["shape"], entry["data"]) for name, entry in entries}
    try:
        tensors |= {alias: tensors[kept] for alias, kept in _aliases(data, tensors).items()}
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    return dict(sorted(tensors.items()))


def write_safetensors(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Writes `weights` in their own dtypes; tied tensors are written one by one, which the format asks for."""
    own = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in weights.items()}
    path.write_bytes(safetensors.torch.save(own))


def as_float32(spec: ModelSpec, weights: Mapping[str, torch.Tensor], where: str) -> dict[str, torch.Tensor]:
    """`weights` as float32, in the spec's order, once they are proven to be the spec's.

    Raises:
        WeightsError: a tensor missing or too many, of another shape, not of floats, or not finite as float32;
            the message begins with `where`.
    """
    shapes = spec.parameter_shapes()
    check_names(shapes, weights, where)
    return {name: checked(f"{where}: {name}", weights[name], shape) for name, shape in shapes.items()}


def check_names(shapes: Mapping[str, tuple[int, ...]], weights: Mapping[str, torch.Tensor], where: str) -> None:
    """Whether `weights` are those that `shapes` names.

    Raises:
        WeightsError: one is missing, or there is one too many.
    """
    missing = [f"{name} {list(shape)}" for name, shape in shapes.items() if name not in weights]
    extra = [f"{name} {list(weights[name].shape)}" for name in weights if name not in shapes]
    if missing or extra:
        parts = (("missing", missing), ("not in the spec", extra))
        raise WeightsError(f"{where}: " + "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names))


def checked(label: str, tensor: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """`tensor` as float32.

    Raises:
        WeightsError: it has another shape, is not of floats, or not finite; the message begins with `label`.
    """
    if tuple(tensor.shape) != shape:
        raise WeightsError(f"{label}: expected shape {list(shape)}, got {list(tensor.shape)}")
    if tensor.dtype not in FLOATS or tensor.layout is not torch.strided or tensor.is_meta:
        raise WeightsError(f"{label}: expected a dense float tensor, got {_kind(tensor)}")
    tensor = tensor.detach().to(torch.float32)
    if not bool(torch.isfinite(tensor).all()):
        raise WeightsError(f"{label}: expected finite float32 numbers, got NaN or infinity")
    return tensor


def _kind(tensor: torch.Tensor) -> str:
    parts = [str(tensor.dtype), str(tensor.layout)] + (["without data"] if tensor.is_meta else [])
    return ", ".join(part.removeprefix("torch.") for part in parts)


def _aliases(data: bytes, tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """The names that the file's metadata gives to tensors which it holds by another name."""
    length = int.from_bytes(data[:8], "little")  # the header's, which safetensors has proven to be JSON
    header = json.loads(data[8 : 8 + length], object_pairs_hook=_each_name_once)
    metadata: dict[str, str] = header.get("__metadata__") or {}
    return {alias: kept for alias, kept in metadata.items() if kept in tensors and alias not in tensors}


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises WeightsError for a name used twice, of which the library takes the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise WeightsError(f"{next(name for name, count in counts.items() if count > 1)}: a name used twice")
    return found


def _tensor(path: Path, name: str, dtype: str, shape: list[int], data: bytearray) -> torch.Tensor:
    if dtype not in _DTYPES:
        raise WeightsError(f"{path}: {name}: expected one of {', '.join(_DTYPES)}, got {dtype}")
    if not data:  # frombuffer refuses what is empty
        return torch.empty(shape, dtype=_DTYPES[dtype])
    return torch.frombuffer(data, dtype=_DTYPES[dtype]).reshape(shape)
