"""A pool's step: an array or a ragged list becomes pool chunks, their answers become the caller's outputs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np

from elman._shared.arrays import ArrayLike, ragged_items, to_sequence
from elman._shared.deadline import Deadline
from elman._shared.errors import ElmanError, InvalidInputError, RowErrors
from elman._shared.info import ModelInfo
from elman._shared.packed_layout import Index, order_of, pack, unpack
from elman._shared.records import in_callers_form, record_dtype, unknown, wanted_outputs
from elman._shared.results import State, StepResult
from elman._stepping.answers import Answer, FutureT
from elman._stepping.chunks import PoolChunk, even_lengths
from elman._stepping.options import MAX_FRAME_ROWS, MIN_PART_STEPS, ModelOptions, frame_key, max_steps, part_steps
from elman.wire import Array

_MAX_PART_STEPS = 256

PoolOutput = Any
"""An array, a list of arrays, or None; of several outputs dicts of arrays instead of arrays."""


@dataclass(frozen=True)
class PoolInput:
    """Checked input of `n` rows: one array, or one per row."""

    even: Array | None  # [T, n, *features]
    ragged: list[Array]  # n of [T_k, *features]; empty if even
    lengths: Index  # [n]
    is_single: list[bool]  # given without the T axis: all rows, or one per row if ragged

    def row(self, row: int) -> Array:
        """[T_k, *features] of one row."""
        return self.ragged[row] if self.even is None else self.even[:, row]


@dataclass(frozen=True)
class InputPart:
    """What of the input a pool chunk holds."""

    rows: Index  # [K] rows of the call, longest first
    first_step: int


@dataclass(frozen=True)
class PendingPoolStep(Generic[FutureT]):
    """Pool chunks to submit, in order, and the futures to wait for before `result`."""

    chunks: list[PoolChunk]
    futures: list[FutureT]
    parts: list[InputPart]
    input: PoolInput
    info: ModelInfo
    options: ModelOptions

    def result(self) -> PoolOutput | StepResult[PoolOutput]:
        """Outputs in the input's form. Raises RowErrors, or the one error that all rows share."""
        answers = [future.result() for future in self.futures]
        errors = self._errors(answers)
        output = self._output(answers, errors)
        state = self._state(answers, errors) if self.options.state else None
        if errors:
            first = next(iter(errors.values()))
            if len(errors) == len(self.input.lengths) and all(error is first for error in errors.values()):
                raise copy.copy(first)
            raise RowErrors(dict(sorted(errors.items())), output, state)
        return output if state is None else StepResult(output, state)

    def _errors(self, answers: list[Answer]) -> dict[int, ElmanError]:
        errors: dict[int, ElmanError] = {}
        for part, answer in zip(self.parts, answers, strict=True):
            for row, error in (answer.errors or {}).items():
                errors.setdefault(int(part.rows[row]), error)
        return errors

    def _output(self, answers: list[Answer], errors: dict[int, ElmanError]) -> PoolOutput:
        if self.options.returning == "none":
            return None
        if len(answers) == 1 and self.input.even is not None and answers[0].output is not None:
            return self._formed(self._even_output(answers[0].output))
        rows = self._rows(answers, errors)
        if self.input.even is None:
            is_last = self.options.returning == "last"
            pairs = zip(rows, self.input.is_single, strict=True)
            return [self._formed(row[0] if is_last or single else row) for row, single in pairs]
        stacked: Array = np.stack(rows, axis=1)
        return self._formed(stacked[0] if self.input.is_single[0] or self.options.returning == "last" else stacked)

    def _formed(self, output: Array) -> Any:
        return in_callers_form(output, self.info, self.options.outputs)

    def _even_output(self, output: Array) -> Array:
        if self.options.returning == "last" or self.input.is_single[0]:
            return output
        return output.reshape(-1, len(self.input.lengths), *output.shape[1:])

    def _rows(self, answers: list[Answer], errors: dict[int, ElmanError]) -> list[Array]:
        """[T_k, output_size] of each row, or [1, output_size] of the last steps."""
        is_last = self.options.returning == "last"
        outputs: list[list[Array]] = [[] for _ in self.input.lengths]
        for pool_chunk, part, answer in zip(self.chunks, self.parts, answers, strict=True):
            if answer.output is None:
                continue
            values = list(answer.output[:, np.newaxis]) if is_last else unpack(answer.output, pool_chunk.lengths)
            for row, value in zip(part.rows.tolist(), values, strict=True):
                outputs[row] = [value] if is_last else [*outputs[row], value]
        return [
            self._no_output(row, is_last) if row in errors else np.concatenate(values)
            for row, values in enumerate(outputs)
        ]

    def _no_output(self, row: int, is_last: bool) -> Array:
        length = 1 if is_last else int(self.input.lengths[row])
        fields = wanted_outputs(self.info, self.options.outputs)
        if len(self.info.outputs) == 1:
            return unknown(fields[0].dtype, (length, *fields[0].features))
        return unknown(record_dtype(fields), (length,))

    def _state(self, answers: list[Answer], errors: dict[int, ElmanError]) -> State:
        num_rows = len(self.input.lengths)
        states = [unknown(one.dtype, one.inner_shape(num_rows)) for one in self.info.states]
        positions = np.zeros(num_rows, np.int64)
        for pool_chunk, part, answer in zip(self.chunks, self.parts, answers, strict=True):
            positions[part.rows] = pool_chunk.begins + pool_chunk.lengths  # a later part overwrites an earlier one
            for state, given in zip(states, answer.states, strict=False):
                state[:, part.rows] = given
        for state in states:
            state[:, list(errors)] = unknown(state.dtype, (1,))
        return State.of(self.info, states, tuple(positions.tolist()))


def check_pool_input(x: ArrayLike, info: ModelInfo, num_rows: int) -> PoolInput:
    """[T, n, *features], one step [n, *features], or a list of n arrays [T_k, *features]. Raises InvalidInputError."""
    items = ragged_items(x)
    if items is not None:
        return _check_ragged(items, info, num_rows)
    values, is_single = to_sequence(x, info, num_rows)
    return PoolInput(values, [], even_lengths(num_rows, len(values)), [is_single])


def begin_pool_step(
    values: PoolInput,
    info: ModelInfo,
    sessions: Index,
    options: ModelOptions,
    max_bytes: int,
    make_future: Callable[[], FutureT],
) -> PendingPoolStep[FutureT]:
    """One pool chunk if it fits into a frame, else as many as needed, by rows and by steps."""
    key = frame_key(info, options)
    deadline = Deadline.after(options.timeout_seconds)
    parts, chunks, futures = [], [], []
    budget = max_steps(info, options, max_bytes)
    if options.progress:  # at least some steps of each row
        budget = min(budget, max(part_steps(int(values.lengths.sum())), MIN_PART_STEPS * len(values.lengths)))
    for part, lengths, packed in _cut(values, budget):
        future = make_future()
        parts.append(part)
        futures.append(future)
        chunks.append(PoolChunk(key, sessions[part.rows], lengths, packed, future, deadline))
    return PendingPoolStep(chunks, futures, parts, values, info, options)


def _check_ragged(x: Sequence[ArrayLike], info: ModelInfo, num_rows: int) -> PoolInput:
    if len(x) != num_rows:
        raise InvalidInputError(f"x: expected {num_rows} arrays, one per session, got {len(x)}")
    checked = [to_sequence(item, info, None, f"x[{row}]") for row, item in enumerate(x)]
    lengths = np.array([len(values) for values, _ in checked], np.intp)
    return PoolInput(None, [values for values, _ in checked], lengths, [is_single for _, is_single in checked])


def _cut(values: PoolInput, budget: int) -> list[tuple[InputPart, Index, Array]]:
    """(what, lengths, packed input) of each pool chunk of at most `budget` session-steps."""
    lengths = values.lengths
    order = order_of(lengths)
    rows = np.arange(len(lengths)) if order is None else order
    if len(rows) <= MAX_FRAME_ROWS and int(lengths.sum()) <= budget:
        if values.even is not None:
            return [(InputPart(rows, 0), lengths, values.even.reshape(-1, *values.even.shape[2:]))]
        return [(InputPart(rows, 0), lengths[rows], pack([values.ragged[row] for row in rows], lengths[rows]))]
    num_rows = min(len(rows), MAX_FRAME_ROWS, max(1, budget // min(int(lengths.max()), _MAX_PART_STEPS)))
    return [
        part
        for first in range(0, len(rows), num_rows)
        for part in _cut_steps(values, rows[first : first + num_rows], max(1, budget // num_rows))
    ]


def _cut_steps(values: PoolInput, rows: Index, size: int) -> list[tuple[InputPart, Index, Array]]:
    parts = []
    for first in range(0, int(values.lengths[rows[0]]), size):
        alive = rows[values.lengths[rows] > first]
        lengths = np.minimum(values.lengths[alive] - first, size)
        packed = pack([values.row(row)[first : first + size] for row in alive], lengths)
        parts.append((InputPart(alive, first), lengths, packed))
    return parts
