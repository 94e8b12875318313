"""Whatever the caller has (NumPy, torch, lists) as an array of the model's shape and dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from elman._shared.errors import InvalidInputError
from elman._shared.info import ModelInfo
from elman.wire import Array

ArrayLike = npt.ArrayLike | Any
"""NumPy arrays, torch tensors, lists, numbers: what `numpy.asarray` takes, on any device."""


def to_array(value: ArrayLike, dtype: np.dtype[Any], name: str) -> Array:
    """`value` as a C-contiguous array of `dtype` of its own: the caller may reuse its buffer at once.

    InvalidInputError where it is ragged, not numbers, or fractions for ids.
    """
    array = value if type(value) is np.ndarray else _as_numpy(value, name)
    if array.dtype == dtype:
        return array.copy()
    if not array.size and isinstance(value, list | tuple):  # which has no dtype
        return array.astype(dtype)
    if array.dtype.kind not in ("biu" if dtype.kind == "i" else "biuf"):
        wanted = "integer token ids" if dtype.kind == "i" else "real numbers"
        given = f"dtype {array.dtype}" if array.ndim else f"{value!r:.100}"
        raise InvalidInputError(f"{name}: expected {wanted}, got {given}")
    with np.errstate(over="ignore"):  # the server refuses what is not finite, and says where
        return array.astype(dtype, order="C")


def to_sequence(value: ArrayLike, info: ModelInfo, num_rows: int | None, name: str = "x") -> tuple[Array, bool]:
    """`value` as [T, *features] (or [T, num_rows, *features]), and whether it was a single step without T."""
    array = to_array(value, info.input_dtype, name)
    tail = info.input_features if num_rows is None else (num_rows, *info.input_features)
    if array.shape == tail:
        return array[np.newaxis], True
    if array.ndim == len(tail) + 1 and array.shape[1:] == tail and array.shape[0] > 0:
        return array, False
    raise InvalidInputError(_misfit(name, array.shape, info, num_rows))


def ragged_items(value: ArrayLike) -> Sequence[ArrayLike] | None:
    """The arrays of a list or tuple of arrays; None for anything else, nested lists of numbers included."""
    if isinstance(value, (list, tuple)) and value and all(getattr(item, "shape", ()) for item in value):
        return value
    return None


def _as_numpy(value: ArrayLike, name: str) -> Array:
    try:
        if hasattr(value, "detach") and hasattr(value, "cpu"):  # torch, without importing it: any device, any dtype
            value = value.detach().cpu()
            if str(value.dtype) == "torch.bfloat16":  # unknown to NumPy
                value = value.float()
        array: Array = np.asarray(value)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:  # ragged, sparse, on no device
        raise InvalidInputError(f"{name}: expected an array of numbers: {error}") from error
    return array


def _misfit(name: str, shape: tuple[int, ...], info: ModelInfo, num_rows: int | None) -> str:
    features = [str(size) for size in info.input_features]
    rows = [] if num_rows is None else [str(num_rows)]
    axes = ", ".join(["T", *rows, *features])
    return (
        f"{name}: model {info.name!r} expects [{axes}] with T >= 1, or one step [{', '.join(rows + features)}]; "
        f"got {list(shape)}"
    )
