"""What a model takes, gives and keeps, as far as the rooms above the model must know."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman import wire

Array = NDArray[Any]

F32 = np.dtype(np.float32)
I64 = np.dtype(np.int64)


@dataclass(slots=True, frozen=True)
class TensorField:
    """One tensor of a time step of a row: an input or an output; or of a row: a state, a context."""

    name: str
    dtype: np.dtype[Any]
    """float32 or int64."""
    features: tuple[int, ...]
    """Of one step of one row: (input_size,), or () for token ids."""
    num_embeddings: int = 0
    """Ids are below it; 0 where the numbers are not ids."""
    layers: int = 0
    """Of a state of a stack, [layers, rows, *features]; 0: [rows, *features]."""
    last_only: bool = False
    """An output of which the author's module gives the last step alone."""
    per_row: bool = False
    """An output of a whole sequence: it has no steps."""
    is_probability: bool = False
    """An output that a softmax gives."""

    @property
    def num_bytes(self) -> int:
        """Of one row, or one step of it."""
        return self.dtype.itemsize * math.prod(self.features) * (self.layers or 1)

    @property
    def wire_dtype(self) -> int:
        """As it travels: `elman.wire`'s number."""
        return wire.wire_dtype(self.dtype)

    def shape(self, rows: int) -> tuple[int, ...]:
        """Of so many rows, or steps."""
        return (self.layers, rows, *self.features) if self.layers else (rows, *self.features)

    def seam_shape(self, rows: int) -> tuple[int, ...]:
        """As `shape`, where rows are always the second axis, as they are for states between door and model."""
        return (self.layers or 1, rows, *self.features)


class StepRecord:
    """Several tensors of a time step as one array, so that what cuts and joins rows need not know how many they are.

    Where a model has one, the array is that tensor, [steps, *features]. Where it has several, it is a structured array
    [steps] with a field for each; a part of its fields is structured, too, even a single one.
    """

    def __init__(self, fields: Sequence[TensorField], *, is_plain: bool | None = None) -> None:
        """`is_plain`: whether the array is the only tensor itself; by default where there is one."""
        self.fields = tuple(fields)
        self.is_plain = len(self.fields) == 1 if is_plain is None else is_plain
        self.features = self.fields[0].features if self.is_plain else ()
        self.dtype: np.dtype[Any] = (
            self.fields[0].dtype
            if self.is_plain
            else np.dtype([(one.name, one.dtype, one.features) for one in self.fields], align=True)
        )
        self.num_bytes = self.fields[0].num_bytes if self.is_plain else self.dtype.itemsize
        """Of one step."""
        self.wire_dtype = self.fields[0].wire_dtype if self.is_plain else wire.UNSPECIFIED
        self.wire_layout = self.dtype.newbyteorder("<")
        """As its bytes travel."""
        self._parts: dict[int, StepRecord] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StepRecord) and self.fields == other.fields

    __hash__ = None  # type: ignore[assignment]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the fields, in order."""
        return tuple(one.name for one in self.fields)

    @cached_property
    def all(self) -> int:
        """All fields as bits, by their numbers."""
        return (1 << len(self.fields)) - 1

    def bits(self, names: Sequence[str]) -> int:
        """The fields of those names as bits.

        Raises:
            KeyError: there is none of that name.
        """
        numbers = {name: number for number, name in enumerate(self.names)}
        bits = 0
        for name in names:
            bits |= 1 << numbers[name]
        return bits

    def part(self, bits: int) -> "StepRecord":
        """Some of the fields."""
        if self.is_plain or bits == self.all:
            return self
        if bits not in self._parts:
            chosen = [one for number, one in enumerate(self.fields) if bits >> number & 1]
            self._parts[bits] = StepRecord(chosen, is_plain=False)
        return self._parts[bits]

    def joined(self, arrays: Sequence[Array]) -> Array:
        """Of a tensor for each field, [steps, *features]."""
        if self.is_plain:
            return arrays[0]
        record = np.empty(len(arrays[0]), self.dtype)
        for one, array in zip(self.fields, arrays, strict=True):
            record[one.name] = array
        return record

    def tensors(self, record: Array) -> list[Array]:
        """The tensor of each field, in order, contiguous."""
        if self.is_plain:
            return [record]
        return [np.ascontiguousarray(record[one.name]) for one in self.fields]

    def chosen(self, record: Array) -> Array:
        """Of a record that has these fields and more, these alone."""
        if self.is_plain or record.dtype == self.dtype:
            return record
        chosen = np.empty(len(record), self.dtype)
        for one in self.fields:
            chosen[one.name] = record[one.name]
        return chosen

    def from_bytes(self, raw: bytes | bytearray, steps: int) -> Array:
        """[steps, *features] the bytes of so many steps of the only tensor as they came, little-endian; not copied."""
        return np.frombuffer(raw, self.wire_layout).reshape(steps, *self.features)


@dataclass(frozen=True)
class ModelView:
    """A model's tensors, and what follows from them."""

    input: StepRecord
    output: StepRecord
    states: tuple[TensorField, ...]
    """What a session carries from step to step."""
    context: tuple[TensorField, ...]
    """What is given when a session begins, and stays."""
    has_stack_state: bool
    """Whether the state is one stack's: h and, of an LSTM, c."""
    needs_whole_sequences: bool
    """Whether it can be fed no parts of a sequence: no sessions."""
    computed_starts: tuple[str, ...] = ()
    """States that begin with what the model computes, so that none may be given."""

    @cached_property
    def state_bytes(self) -> int:
        """Of one row's state, without its context."""
        return sum(one.num_bytes for one in self.states)

    @cached_property
    def per_row_outputs(self) -> int:
        """The outputs that have no steps, as bits."""
        return self.output.bits([one.name for one in self.output.fields if one.per_row])
