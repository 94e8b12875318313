"""What a caller gives to `infer`: one sequence, a list of them, or an array of sequences of one length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import cast

import numpy as np

from elman._shared.arrays import ArrayLike, check_names, to_array, to_sequence
from elman._shared.errors import InvalidInputError
from elman._shared.info import ModelInfo, TensorInfo
from elman._shared.packed_layout import Index
from elman._shared.session_ids import check_id, check_ids
from elman.wire import Array


class Form(Enum):
    """How the sequences came, and so how their outputs go."""

    SINGLE = 0  # [T, *features]
    LIST = 1  # K of [T_k, *features]
    EVEN = 2  # [T, K, *features]


@dataclass(frozen=True)
class InferInput:
    """Checked and cast."""

    form: Form
    sequences: list[Array]  # K of [T_k, *features]
    even_steps: int = 0  # T, if even: there may be no sequence

    @property
    def lengths(self) -> Index:
        """[K] steps of each."""
        return np.array([len(sequence) for sequence in self.sequences], np.intp)

    def joined(self, outputs: list[Array], field: TensorInfo, is_last: bool) -> Array | list[Array]:
        """An output [T_k, *features], or [*features] of the last steps, in the form of the input."""
        if self.form is Form.SINGLE:
            return outputs[0]
        if self.form is Form.LIST:
            return outputs
        if outputs:
            return np.stack(outputs, axis=0 if is_last else 1)
        shape = (0, *field.features) if is_last else (self.even_steps, 0, *field.features)
        return np.empty(shape, field.dtype)


def check_keep_as(value: object, given: InferInput) -> list[str]:
    """Ids under which the states of what is given are to be kept. Raises TypeError, InvalidInputError."""
    if given.form is Form.SINGLE:
        return [check_id("keep_state_as", value)]
    ids = check_ids(value, "keep_state_as") if given.sequences else []
    if len(ids) != len(given.sequences):
        raise InvalidInputError(
            f"keep_state_as: expected {len(given.sequences)} ids, one for each sequence, got {len(ids)}"
        )
    return ids


def check_infer_input(x: ArrayLike, info: ModelInfo) -> InferInput:
    """A list is of sequences where its items have a T axis, else one sequence of its items; an array says by its axes,
    and a dict of inputs by those of its first. A list of dicts is of sequences.

    Raises InvalidInputError.
    """
    if isinstance(x, Mapping):
        return _named(x, info)
    if isinstance(x, list | tuple) and x and any(isinstance(item, Mapping) for item in x):
        return InferInput(Form.LIST, [_sequence(item, info, f"x[{row}]") for row, item in enumerate(x)])
    if len(info.inputs) > 1 and not (isinstance(x, list | tuple) and not x):
        return InferInput(Form.SINGLE, [_sequence(x, info)])  # which says what was expected
    num_axes = 1 + len(info.input_features)
    if isinstance(x, list | tuple):
        if not x or _depth(x) > num_axes:
            return InferInput(Form.LIST, [_sequence(item, info, f"x[{row}]") for row, item in enumerate(x)])
        return InferInput(Form.SINGLE, [_sequence(x, info)])
    if len(getattr(x, "shape", ())) != num_axes + 1:
        return InferInput(Form.SINGLE, [_sequence(x, info)])
    values = to_array(x, info.input_dtype, "x")
    if not len(values) or values.shape[2:] != info.input_features:
        axes = ", ".join(["T", "K", *map(str, info.input_features)])
        raise InvalidInputError(
            f"x: model {info.name!r} expects [{axes}] with T >= 1 for K sequences of one length; "
            f"got {list(values.shape)}"
        )
    return InferInput(Form.EVEN, [values[:, row] for row in range(values.shape[1])], len(values))


def _named(x: Mapping[str, ArrayLike], info: ModelInfo) -> InferInput:
    check_names(x, info.inputs, "x", info)
    first = info.inputs[0]
    array = to_array(x[first.name], first.dtype, f"x[{first.name!r}]")
    if array.ndim != len(first.features) + 2:
        return InferInput(Form.SINGLE, [_sequence(x, info)])
    values, _ = to_sequence(x, info, array.shape[1])
    return InferInput(Form.EVEN, [values[:, row] for row in range(values.shape[1])], len(values))


def _depth(value: ArrayLike) -> int:
    """Axes of what nested lists and arrays hold, as far as the first items tell."""
    depth = 0
    while isinstance(value, list | tuple):
        depth += 1
        if not value:
            return depth
        value = value[0]
    return depth + len(cast("tuple[int, ...]", getattr(value, "shape", ())))


def _sequence(value: ArrayLike, info: ModelInfo, name: str = "x") -> Array:
    sequence, is_single = to_sequence(value, info, None, name)
    if is_single:
        raise InvalidInputError(f"{name}: expected a sequence with a T axis, got one step {list(sequence.shape[1:])}")
    return sequence
