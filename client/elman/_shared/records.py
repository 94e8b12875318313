"""Records: the tensors of a time step as one array, so that what cuts, joins and orders steps need not know how many.

A model of one input has that array itself, [T, *features]; one of several a structured array [T] with a field for each.
Outputs likewise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from elman._shared.errors import InvalidInputError
from elman._shared.info import ModelInfo, TensorInfo
from elman.v1 import inference_pb2, sessions_pb2, tensor_pb2
from elman.wire import Array, WireError, fill_tensor, from_tensor, to_tensor

Arrays = dict[str, Array]


class NamedTensors(Protocol):
    """A repeated field of tensors by name."""

    def add(self, *, name: str) -> tensor_pb2.NamedTensor:
        """One more."""
        ...


def record_dtype(fields: Iterable[TensorInfo]) -> np.dtype[Any]:
    """Of a structured array of those tensors."""
    return np.dtype([(one.name, one.dtype, one.features) for one in fields], align=True)


def joined(fields: Sequence[TensorInfo], arrays: Mapping[str, Array], shape: tuple[int, ...]) -> Array:
    """The record [*shape] of arrays [*shape, *features]; of one tensor its array."""
    if len(fields) == 1:
        return arrays[fields[0].name]
    record = np.empty(shape, record_dtype(fields))
    for one in fields:
        record[one.name] = arrays[one.name]
    return record


def fill_named(field: NamedTensors, tensors: Sequence[TensorInfo], record: Array) -> None:
    """Writes the fields of a structured array as tensors by name."""
    for one in tensors:
        fill_tensor(field.add(name=one.name).tensor, record[one.name], one.wire_dtype)


def read_named(field: Iterable[tensor_pb2.NamedTensor]) -> Arrays:
    """Tensors by name, read-only. Raises WireError."""
    return {one.name: from_tensor(one.tensor, name=one.name) for one in field}


def read_record(field: Iterable[tensor_pb2.NamedTensor]) -> Array:
    """Tensors of equally many steps as a structured array. Raises WireError."""
    arrays = read_named(field)
    dtype = np.dtype([(name, array.dtype, array.shape[1:]) for name, array in arrays.items()], align=True)
    record = np.empty(len(next(iter(arrays.values()))) if arrays else 0, dtype)
    for name, array in arrays.items():
        record[name] = array
    return record


def read_states(
    message: inference_pb2.InferResponse | sessions_pb2.DescribeSessionResponse, info: ModelInfo
) -> list[Array]:
    """The states of an answer, [layers or 1, rows, *features] each; none if none came. Raises WireError."""
    if message.HasField("h_n"):
        h_n = from_tensor(message.h_n, name="h_n").copy()
        return [h_n, from_tensor(message.c_n, name="c_n").copy()] if message.HasField("c_n") else [h_n]
    return states_of(read_named(message.states), info.states) if message.states else []


def states_of(arrays: Mapping[str, Array], fields: Sequence[TensorInfo]) -> list[Array]:
    """States by name as [layers or 1, rows, *features] of each. Raises WireError where one is missing."""
    missing = [one.name for one in fields if one.name not in arrays]
    if missing:
        raise WireError(f"states: expected {_listed(one.name for one in fields)}, got none of {_listed(missing)}")
    return [arrays[one.name].copy() if one.layers else arrays[one.name][np.newaxis].copy() for one in fields]


def name_states(info: ModelInfo, states: Sequence[Array]) -> list[tensor_pb2.NamedTensor]:
    """[layers or 1, rows, *features] of each state, by name."""
    return [
        tensor_pb2.NamedTensor(name=one.name, tensor=to_tensor(state if one.layers else state[0], one.wire_dtype))
        for one, state in zip(info.states, states, strict=True)
    ]


def unknown(dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """Steps whose numbers did not come: NaN, or 0 of integers."""
    if dtype.names is None:
        return np.full(shape, np.nan if dtype.kind == "f" else 0, dtype)
    record = np.zeros(shape, dtype)
    for name in dtype.names:
        if record[name].dtype.kind == "f":
            record[name] = np.nan
    return record


def check_outputs(info: ModelInfo, outputs: object) -> tuple[str, ...] | None:
    """The outputs that a caller names; None: all. Raises TypeError, InvalidInputError."""
    if outputs is None:
        return None
    known = [one.name for one in info.outputs]
    expected = f"outputs: expected some of {_listed(known)}, each once, got {outputs!r}"
    if isinstance(outputs, str) or not isinstance(outputs, Iterable):
        raise TypeError(expected)
    names = tuple(outputs)
    if not names or any(name not in known or names.count(name) > 1 for name in names):
        raise InvalidInputError(expected)
    return names


def wanted_outputs(info: ModelInfo, outputs: tuple[str, ...] | None) -> tuple[TensorInfo, ...]:
    """In the model's order."""
    return info.outputs if outputs is None else tuple(one for one in info.outputs if one.name in outputs)


def no_steps(info: ModelInfo, outputs: tuple[str, ...] | None) -> Array:
    """The record of no steps of the wanted outputs."""
    wanted = wanted_outputs(info, outputs)
    if outputs is None and len(wanted) == 1:
        return np.empty((0, *wanted[0].features), wanted[0].dtype)
    return np.empty(0, record_dtype(wanted))


def in_callers_form(output: Array, info: ModelInfo, outputs: tuple[str, ...] | None) -> Any:
    """What a caller gets of a record: the array itself where the model has one output and none was named, else a dict
    in the order of the names, or of the model."""
    if outputs is None and len(info.outputs) == 1:
        return output
    names = outputs or tuple(one.name for one in info.outputs)
    if output.dtype.names is None:
        return {names[0]: output}
    return {name: np.array(output[name], order="C") for name in names}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
