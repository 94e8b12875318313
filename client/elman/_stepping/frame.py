"""A frame: chunks of many sessions in one message, kept until each row has ended, however often it is sent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from google.protobuf import duration_pb2

from elman._shared.deadline import Deadline
from elman._shared.errors import ElmanError
from elman._shared.packed_layout import Index, enumerate_packed, pack, step_offsets, take_steps
from elman._shared.records import fill_named
from elman._stepping.answers import resolve
from elman._stepping.chunks import Chunk, PoolChunk
from elman._stepping.options import FrameKey
from elman._stepping.result_buffer import ResultBuffer
from elman._stepping.session_table import SessionTable
from elman.v1 import inference_pb2
from elman.wire import Array, fill_tensor

_SHORT_STEPS = 32
_WAY_BACK_SHARE = 0.1
_MAX_WAY_BACK_SECONDS = 0.005


class Frame:
    """Rows are counted as they were first sent; a message sent again holds only those that have not ended."""

    def __init__(
        self, number: int, key: FrameKey, columns: tuple[Index, Index, Index, Index], values: Array, deadline: Deadline
    ) -> None:
        self.number = number
        self.key = key
        self.sessions, self.lengths, self.begins, self.epochs = columns  # [K] each; lengths non-increasing
        self.input = values  # [sum(lengths), *features], packed
        self.num_open = len(self.sessions)
        self.is_open = np.ones(self.num_open, np.bool_)  # [K] rows that have not ended
        self.refused: dict[int, ElmanError] = {}  # rows answered "not now" since last sent
        self.acknowledged = False  # some result of the last message has come
        self.chunks: Sequence[Chunk] | PoolChunk = ()
        self.errors: dict[int, ElmanError] = {}
        self.results = ResultBuffer(self.lengths, key)
        self._deadline = deadline
        self._sent_rows: Index | None = None  # [n] rows of the last message; None: all

    @classmethod
    def of_chunks(cls, number: int, chunks: Sequence[Chunk]) -> Frame:
        """Chunks of distinct sessions and one key, longest first."""
        if len({chunk.length for chunk in chunks}) > 1:
            chunks = sorted(chunks, key=lambda chunk: -chunk.length)
        lengths = np.array([chunk.length for chunk in chunks], np.intp)
        columns = (
            np.array([chunk.session for chunk in chunks], np.intp),
            lengths,
            np.array([chunk.begin for chunk in chunks], np.intp),
            np.array([chunk.epoch for chunk in chunks], np.intp),
        )
        values = chunks[0].input if len(chunks) == 1 else pack([chunk.input for chunk in chunks], lengths)
        frame = cls(number, chunks[0].key, columns, values, _latest(chunks))
        frame.chunks = chunks
        return frame

    @classmethod
    def of_pool_chunk(cls, number: int, pool_chunk: PoolChunk) -> Frame:
        """A pool chunk as it is."""
        columns = (pool_chunk.sessions, pool_chunk.lengths, pool_chunk.begins, pool_chunk.epochs)
        frame = cls(number, pool_chunk.key, columns, pool_chunk.input, pool_chunk.deadline)
        frame.chunks = pool_chunk
        return frame

    @property
    def is_short(self) -> bool:
        """Whether it comes back soon, so that others had better wait and gather."""
        return bool(self.lengths[0] <= _SHORT_STEPS) and not isinstance(self.chunks, PoolChunk)

    @property
    def is_awaited(self) -> bool:
        """Whether the server owes results of the last message."""
        return self.num_open > len(self.refused)

    @property
    def is_unanswered(self) -> bool:
        """Whether no result of the last message has come."""
        return self.is_awaited and not self.acknowledged

    def encode(self, table: SessionTable, server_instance: str) -> inference_pb2.StepRequest:
        """The message for the rows that have not ended, with the handles of now."""
        rows = None if self.num_open == len(self.sessions) else np.flatnonzero(self.is_open)
        self._sent_rows = rows
        self.refused.clear()
        self.acknowledged = False
        picked = slice(None) if rows is None else rows
        request = inference_pb2.StepRequest(
            frame_id=self.number,
            handles=table.handles[self.sessions[picked]].tolist(),
            lengths=self.lengths[picked].tolist(),
            positions=self.begins[picked].tolist(),
            return_output=self.key.returning,
            return_state=self.key.return_state,
            server_instance=server_instance,
        )
        if self.key.outputs:
            request.outputs.extend(self.key.outputs)
        values = self.input if rows is None else self._input_of(rows)
        if self.key.inputs:
            fill_named(request.inputs, self.key.inputs, values)
        else:
            fill_tensor(request.input, values, self.key.input_dtype)
        left_seconds = self._deadline.left_seconds()
        if left_seconds is not None:
            request.timeout.CopyFrom(_duration(_for_the_server(left_seconds)))
        return request

    def absorb(self, result: inference_pb2.StepResponse) -> list[int]:
        """Keeps a result's tensors, ends the rows that it completes and returns them."""
        self.acknowledged = True
        finished = list(result.finished)
        if self._sent_rows is None and len(finished) == len(self.sessions) and not result.starts:
            self.results.take_all(result, np.asarray(finished, np.intp) if result.rows else None)
        else:
            self.results.take(result, self._sent_rows)
        if self._sent_rows is not None:
            finished = self._sent_rows[finished].tolist()
        if finished:
            self._finish(finished)
        return finished

    def row_of(self, sent_row: int) -> int:
        """A row of the last message as counted here."""
        return sent_row if self._sent_rows is None else int(self._sent_rows[sent_row])

    def refuse(self, row: int, error: ElmanError) -> None:
        """The row is to be sent again."""
        self.acknowledged = True
        self.refused[row] = error

    def fail(self, row: int, error: ElmanError) -> None:
        """The row ends with an error."""
        self.acknowledged = True
        self.refused.pop(row, None)
        self.is_open[row] = False
        self.num_open -= 1
        if isinstance(self.chunks, PoolChunk):
            self.errors[row] = error
            self._settle_pool_chunk(self.chunks)
        else:
            self.chunks[row].refuse(error)

    def _finish(self, rows: list[int]) -> None:
        self.is_open[rows] = False
        self.num_open -= len(rows)
        if isinstance(self.chunks, PoolChunk):
            self._settle_pool_chunk(self.chunks)
            return
        for row in rows:
            future = self.chunks[row].future
            if not future.done():
                future.set_result(self.results.row(row))

    def _settle_pool_chunk(self, pool_chunk: PoolChunk) -> None:
        if self.num_open == 0:
            resolve(pool_chunk.future, self.results.all_rows()._replace(errors=self.errors or None))

    def _input_of(self, rows: Index) -> Array:
        steps, places = enumerate_packed(self.lengths[rows])
        return take_steps(self.input, step_offsets(self.lengths)[steps] + rows[places])


def _latest(chunks: Sequence[Chunk]) -> Deadline:
    """No chunk is dropped before its time; that of a caller who has gone may still run."""
    return max((chunk.deadline for chunk in chunks), key=lambda deadline: deadline.at_seconds or 0.0)


def _for_the_server(left_seconds: float) -> float:
    """A little less, so that "it was not applied" still finds the caller waiting."""
    return left_seconds - min(_WAY_BACK_SHARE * left_seconds, _MAX_WAY_BACK_SECONDS)


def _duration(seconds: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(int(seconds * 1e9))
    return duration
