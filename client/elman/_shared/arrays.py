"""Whatever the caller has (NumPy, torch, lists) as an array of the model's shape and dtype."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from elman._shared.errors import InvalidInputError
from elman._shared.info import ModelInfo, TensorInfo
from elman._shared.records import joined
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
    """`value` as [T, *features] (or [T, num_rows, *features]), and whether it was a single step without T.

    Of a model of several inputs `value` is a dict of them, and the array a record of theirs, [T] (or [T, num_rows]).
    """
    if type(value) is not np.ndarray and isinstance(value, Mapping):  # the quick look first
        return _to_record(value, info, num_rows, name)
    if len(info.inputs) > 1:
        raise InvalidInputError(
            f"{name}: model {info.name!r} takes several inputs, by name: expected a dict of {_names(info.inputs)}, "
            f"got {type(value).__name__}"
        )
    return _to_steps(value, info.inputs[0], info, num_rows, name)


def _to_steps(
    value: ArrayLike, field: TensorInfo, info: ModelInfo, num_rows: int | None, name: str
) -> tuple[Array, bool]:
    array = to_array(value, field.dtype, name)
    tail = field.features if num_rows is None else (num_rows, *field.features)
    if array.shape == tail:
        return array[np.newaxis], True
    if array.ndim == len(tail) + 1 and array.shape[1:] == tail and array.shape[0] > 0:
        return array, False
    raise InvalidInputError(_misfit(name, array.shape, field, info, num_rows))


def _to_record(value: Mapping[Any, ArrayLike], info: ModelInfo, num_rows: int | None, name: str) -> tuple[Array, bool]:
    check_names(value, info.inputs, name, info)
    arrays, first = {}, info.inputs[0].name
    singles: dict[str, bool] = {}
    for field in info.inputs:
        arrays[field.name], singles[field.name] = _to_steps(
            value[field.name], field, info, num_rows, f"{name}[{field.name!r}]"
        )
        if (len(arrays[field.name]), singles[field.name]) != (len(arrays[first]), singles[first]):
            raise InvalidInputError(
                f"{name}: expected equally many steps of each input, got {_steps(arrays[first], singles[first])} of "
                f"{first!r} and {_steps(arrays[field.name], singles[field.name])} of {field.name!r}"
            )
    shape = arrays[first].shape[: 1 if num_rows is None else 2]
    return joined(info.inputs, arrays, shape), singles[first]


def check_names(value: Mapping[Any, object], fields: Sequence[TensorInfo], name: str, info: ModelInfo) -> None:
    """Raises InvalidInputError unless `value` has just those names."""
    if set(value) != {field.name for field in fields}:
        given = ", ".join(map(repr, value)) or "none"
        raise InvalidInputError(f"{name}: model {info.name!r} expects {_names(fields)}, got {given}")


def to_states(value: object, info: ModelInfo, num_rows: int, name: str) -> list[Array]:
    """A State or a dict by name as [layers or 1, num_rows, *features] of each of a model's states.

    Raises TypeError, InvalidInputError.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: expected a State or a dict of {_names(info.states)}, got {value!r:.100}")
    check_names(value, info.states, name, info)
    return [to_state(value[one.name], one, f"{name}[{one.name!r}]", num_rows) for one in info.states]


def to_state(value: ArrayLike, field: TensorInfo, name: str, num_rows: int) -> Array:
    """[layers or 1, num_rows, *features]. Raises InvalidInputError."""
    state = to_array(value, field.dtype, name)
    expected = field.inner_shape(num_rows) if field.layers else (num_rows, *field.features)
    if state.shape != expected:
        raise InvalidInputError(f"{name}: expected {list(expected)}, got {list(state.shape)}")
    return state.reshape(field.inner_shape(num_rows))


def to_context(value: object, info: ModelInfo, num_rows: int | None) -> dict[str, Array]:
    """A model's context as [num_rows, *features] of each; None: one row, given as [*features].

    Raises TypeError, InvalidInputError.
    """
    given = {} if value is None else value
    if not isinstance(given, Mapping):
        raise TypeError(f"context: expected a dict of {_names(info.context)}, got {value!r:.100}")
    check_names(given, info.context, "context", info)
    context = {}
    for field in info.context:
        array = to_array(given[field.name], field.dtype, f"context[{field.name!r}]")
        expected = field.features if num_rows is None else (num_rows, *field.features)
        if array.shape != expected:
            raise InvalidInputError(f"context[{field.name!r}]: expected {list(expected)}, got {list(array.shape)}")
        context[field.name] = array[np.newaxis] if num_rows is None else array
    return context


def _names(fields: Sequence[TensorInfo]) -> str:
    return ", ".join(repr(field.name) for field in fields) or "none"


def _steps(array: Array, is_single: bool) -> str:
    return "one step" if is_single else str(len(array))


def ragged_items(value: ArrayLike) -> Sequence[ArrayLike] | None:
    """The arrays of a list or tuple of arrays, or dicts of arrays; None for anything else, nested lists of numbers
    included."""
    if isinstance(value, (list, tuple)) and value and all(map(_is_item, value)):
        return value
    return None


def _is_item(value: ArrayLike) -> bool:
    return isinstance(value, Mapping) or bool(getattr(value, "shape", ()))


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


def _misfit(name: str, shape: tuple[int, ...], field: TensorInfo, info: ModelInfo, num_rows: int | None) -> str:
    features = [str(size) for size in field.features]
    rows = [] if num_rows is None else [str(num_rows)]
    axes = ", ".join(["T", *rows, *features])
    return (
        f"{name}: model {info.name!r} expects [{axes}] with T >= 1, or one step [{', '.join(rows + features)}]; "
        f"got {list(shape)}"
    )
