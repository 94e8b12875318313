"""A tensor of a .pt2 file: the bytes of its storage, and what the JSON says of it."""

from collections.abc import Mapping
from math import prod
from typing import Any

import torch

from elman_models.export.refusals import ExportError

DTYPES = {
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
"""By the number that torch's schema gives each."""
STRIDED = 7
"""The number of a plain tensor's layout."""
MAX_AXES = 16


def dtype_of(number: object, where: str) -> torch.dtype:
    """That of a number of the schema.

    Raises:
        ExportError: none that a graph has.
    """
    found = DTYPES.get(number) if isinstance(number, int) else None
    if found is None:
        raise ExportError(f"{where}: expected floats, ints or bools, got torch's type {str(number)[:40]}")
    return found


def wider(dtype: torch.dtype) -> torch.dtype:
    """What a graph computes in instead: float32 or int64, or bool."""
    if dtype.is_floating_point:
        return torch.float32
    return dtype if dtype is torch.bool else torch.int64


def stored_tensor(where: str, data: bytearray, meta: object) -> torch.Tensor:
    """[*sizes] of the dtype that `meta` says: a view of `data`, the bytes of the whole storage.

    Raises:
        ExportError: what it says does not go together, or numbers are not finite.
    """
    if not isinstance(meta, Mapping):
        raise ExportError(f"{where}: expected tensor_meta, a mapping, got {type(meta).__name__}")
    dtype = dtype_of(meta.get("dtype"), where)
    if meta.get("layout") != STRIDED:
        told = str(meta.get("layout"))[:40]
        raise ExportError(f"{where}: expected a plain (strided) tensor, got torch's layout {told}")
    if len(data) % dtype.itemsize:
        raise ExportError(f"{where}: {len(data)} bytes are no whole number of {str(dtype).removeprefix('torch.')}")
    tensor = _view(where, data, dtype, meta)
    if dtype.is_floating_point and not bool(torch.isfinite(tensor).all()):
        raise ExportError(f"{where}: expected finite numbers, got NaN or infinity")
    return tensor


def _view(where: str, data: bytearray, dtype: torch.dtype, meta: Mapping[str, Any]) -> torch.Tensor:
    """Of a storage; nothing outside it, and no more numbers than it has."""
    sizes, strides = _numbers(meta.get("sizes"), f"{where}: sizes"), _numbers(meta.get("strides"), f"{where}: strides")
    (offset,) = _numbers([meta.get("storage_offset")], f"{where}: storage_offset")
    if len(sizes) != len(strides):
        raise ExportError(f"{where}: {len(sizes)} sizes and {len(strides)} strides")
    count, numel = len(data) // dtype.itemsize, prod(sizes)
    reach = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True)) + 1
    if numel > count or (numel and reach > count):
        raise ExportError(f"{where}: sizes {list(sizes)} need {max(numel, reach)} numbers, its data has {count}")
    if not numel:
        return torch.empty(sizes, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype).as_strided(sizes, strides, offset)


def _numbers(given: object, where: str) -> tuple[int, ...]:
    """`[{"as_int": 3}, ...]`."""
    if not isinstance(given, list) or len(given) > MAX_AXES:
        raise ExportError(f"{where}: expected a list of at most {MAX_AXES} numbers")
    found = [one.get("as_int") if isinstance(one, Mapping) and len(one) == 1 else None for one in given]
    for one in found:
        if not isinstance(one, int) or isinstance(one, bool) or not 0 <= one < 1 << 40:
            raise ExportError(f"{where}: expected numbers, got {str(given)[:80]}")
    return tuple(one for one in found if isinstance(one, int))
