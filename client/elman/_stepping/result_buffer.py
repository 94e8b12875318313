"""Gathers a frame's results, which may come slice by slice and in any order of rows."""

from __future__ import annotations

import numpy as np

from elman._shared.packed_layout import Index, enumerate_packed, row_index, step_offsets, take_steps
from elman._shared.records import read_named, read_record, states_of, unknown
from elman._stepping.answers import Answer
from elman._stepping.options import FrameKey
from elman.v1 import inference_pb2, tensor_pb2
from elman.wire import Array, WireError, from_tensor


class ResultBuffer:
    """Buffers in the frame's layout. A step that is told twice, after a cut, is written twice."""

    def __init__(self, lengths: Index, key: FrameKey) -> None:
        self._lengths = lengths  # [K], non-increasing
        self._returning: int = key.returning
        self._named_states = key.states
        self._offsets: Index | None = None
        self._output: Array | None = None  # ALL: packed [sum(lengths), *features]; LAST: [K, *features]
        self._states: list[Array] = []  # [layers or 1, K, *features] each

    def take_all(self, result: inference_pb2.StepResponse, order: Index | None) -> None:
        """A result that completes all rows from their first steps on: nothing to place, if in the frame's order."""
        if order is not None and bool((order[1:] < order[:-1]).any()):
            self.take(result, None)
            return
        if self._returning != tensor_pb2.RETURN_NONE:
            self._output = self._checked(_output(result))
        self._states = self._states_of(result)

    def take(self, result: inference_pb2.StepResponse, sent_rows: Index | None) -> None:
        """Places a result of some rows or some steps; `sent_rows` are the frame's rows in the message answered."""
        finished = _rows(list(result.finished), sent_rows)
        if self._returning == tensor_pb2.RETURN_ALL and result.lengths:
            self._place_steps(result, sent_rows)
        elif self._returning == tensor_pb2.RETURN_LAST and len(finished):
            last = _output(result)
            self._output = _buffer(self._output, (len(self._lengths), *last.shape[1:]), last)
            self._output[finished] = last
        parts = self._states_of(result)
        for number, part in enumerate(parts):
            buffer = self._states[number] if number < len(self._states) else None
            self._states[number : number + 1] = [self._place_state(buffer, part, finished)]

    def row(self, row: int) -> Answer:
        """One finished row's own, in memory of its own."""
        states = tuple([state[:, row : row + 1].copy() for state in self._states]) if self._states else ()
        return Answer(self._output_of(row), states)

    def all_rows(self) -> Answer:
        """Everything, in the frame's layout."""
        return Answer(_owned(self._output), tuple(map(_owned, self._states)))

    def _output_of(self, row: int) -> Array | None:
        if self._output is None:
            return None
        if self._returning == tensor_pb2.RETURN_LAST:
            last: Array = self._output[row]
            return last.copy()
        if len(self._lengths) == 1:
            return _owned(self._output)
        length = int(self._lengths[row])
        if length == 1:  # told apart because it is most frequent, and this is three times faster
            return self._output[row : row + 1].copy()
        return take_steps(self._output, row_index(self._step_offsets(), row, length))

    def _place_steps(self, result: inference_pb2.StepResponse, sent_rows: Index | None) -> None:
        lengths = np.array(result.lengths, np.intp)
        rows = _rows(list(result.rows) or list(range(len(lengths))), sent_rows)
        starts = np.array(result.starts or [0] * len(lengths), np.intp)
        part = _output(result)
        steps, places = enumerate_packed(lengths)
        self._output = _buffer(self._output, (int(self._lengths.sum()), *part.shape[1:]), part)
        self._output[self._step_offsets()[starts[places] + steps] + rows[places]] = part

    def _place_state(self, buffer: Array | None, part: Array, finished: Index) -> Array:
        buffer = _buffer(buffer, (part.shape[0], len(self._lengths), *part.shape[2:]), part)
        buffer[:, finished] = part
        return buffer

    def _states_of(self, result: inference_pb2.StepResponse) -> list[Array]:
        if result.HasField("h_n"):
            h_n = from_tensor(result.h_n, name="h_n")
            return [h_n, from_tensor(result.c_n, name="c_n")] if result.HasField("c_n") else [h_n]
        if not self._named_states or not result.states:
            return []
        return states_of(read_named(result.states), self._named_states)

    def _step_offsets(self) -> Index:
        if self._offsets is None:
            self._offsets = step_offsets(self._lengths)
        return self._offsets

    def _checked(self, output: Array) -> Array:
        is_all = self._returning == tensor_pb2.RETURN_ALL
        expected = int(self._lengths.sum()) if is_all else len(self._lengths)
        if not output.ndim or len(output) != expected:
            raise WireError(f"output.shape: expected {expected} steps, got {list(output.shape)}")
        return output


def _output(result: inference_pb2.StepResponse) -> Array:
    if result.HasField("output") or not result.outputs:
        return from_tensor(result.output, name="output")
    return read_record(result.outputs)


def _rows(sent: list[int], sent_rows: Index | None) -> Index:
    rows = np.array(sent, np.intp)
    return rows if sent_rows is None else sent_rows[rows]


def _buffer(buffer: Array | None, shape: tuple[int, ...], part: Array) -> Array:
    if buffer is None:
        return unknown(part.dtype, shape)
    return _owned(buffer)


def _owned(array: Array | None) -> Array:
    return array if array is None or array.flags.writeable else array.copy()  # type: ignore[return-value]
