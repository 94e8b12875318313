"""Taking in: the rows of frames that came together, on their way into the queues."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman_server.exchange.frames import Frame
from elman_server.exchange.want import pack_kind
from elman_server.models.runtime import Runtime
from elman_server.scheduling.chunks import begin_chunk
from elman_server.scheduling.input_blocks import Block, block_offsets
from elman_server.scheduling.queues import append
from elman_server.sessions.table import find
from elman_server.tables.free_list import take
from elman_server.tables.jit import jit
from elman_server.telemetry.histogram import observe

Array = NDArray[Any]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
Flags = NDArray[np.bool_]
Table = NDArray[Any]

ARRIVAL = np.dtype(
    [
        ("end", np.int64),  # rows of the frames up to this one
        ("outputs", np.int64),  # what is asked back: see Frame
        ("want", np.int64),
        ("want_state", np.bool_),
        ("kind", np.int64),  # the same as one number
        ("arrived", np.float64),
        ("refused", np.bool_),
        ("number", np.int64),  # among the frames that are open, or -1: none of its rows was taken in
    ],
    align=True,
)

TAKEN, REFUSED, STALE, INVALID, OUT_OF_PLACE = range(5)
"""What became of a row. OUT_OF_PLACE: it does not begin where its session is."""


class Rows(NamedTuple):
    """The rows of all frames, one frame's after the other."""

    outcome: NDArray[np.int8]  # [R] what became of each
    slots: I64  # [R] -1 where the handle is stale
    begins: I64  # [R] position of each chunk's first step; -1 where it is implied and the session is broken
    admitted: I64  # [R] of its session, when its turn came
    num_taken: int


class Arrivals:
    """Frames that are taken in together, in the order in which they came: a row's session is where the rows before it
    left it."""

    def __init__(self, frames: Sequence[Frame], lent: I64 | None = None) -> None:
        """`lent`: [K] slots lent to the rows of the only frame, which is of `Infer`. `data`: [N, *features] the frames'
        packed tensors, one after the other."""
        self.frames = frames
        handles, self.lengths, self._positions, self._deadlines, self.data = _rows(frames)
        self.handles = handles if lent is None else lent.view(np.uint64)
        self._ends = list(accumulate([len(frame.lengths) for frame in frames]))
        records = [
            (end, f.outputs, f.want, f.want_state, 0, f.arrived, False, -1)
            for end, f in zip(self._ends, frames, strict=True)
        ]
        self.table: Table = np.array(records, ARRIVAL)
        self._is_lent = lent is not None

    def frame_of(self, r: int) -> tuple[Frame, int, int]:
        """The frame of row `r` of all, which of its rows it is, and what the frame asks back, once it is taken in."""
        index = int(np.searchsorted(self.table["end"], r, side="right"))
        frame, end, kind = self.frames[index], int(self.table["end"][index]), int(self.table["kind"][index])
        return frame, r - end + frame.num_rows, kind

    def take_in(self, runtime: Runtime, barred: Flags | None) -> Rows:
        """Queues the rows that may run; their input is in a new block. `barred`: [R] rows with values that must not
        run."""
        sessions, scheduler, frames, blocks = runtime.sessions, runtime.scheduler, runtime.frames, runtime.inputs.blocks
        chunks, queues, gaps = scheduler.chunks, scheduler.queues, runtime.metrics.reuse_gap
        outcome, (slots, begins, admitted), offsets, block, taken, steps = _take_in(
            self.handles, self.lengths, self._positions, self._deadlines,
            _NONE if barred is None else barred, self.table,
            self._is_lent, sessions.key.rounds, sessions.table,
            chunks.table, chunks.free.stack, chunks.free.count,
            queues.table, queues.line.items, queues.line.span,
            frames.left, frames.free.stack, frames.free.count,
            blocks.left, blocks.free.stack, blocks.free.count,
            *gaps.columns,
        )  # fmt: skip
        if taken:
            blocks[block] = Block(self.data, offsets)
            frames.update((n, f) for n, f in zip(self.table["number"].tolist(), self.frames, strict=True) if n >= 0)
            runtime.queue_bytes += steps * runtime.view.input.num_bytes
        first = 0
        for frame, end in zip(self.frames, self._ends, strict=True):
            frame.model, frame.slots, first = runtime.number, slots[first:end], end
        return Rows(outcome, slots, begins, admitted, taken)


_NONE = np.zeros(0, np.bool_)


@jit
def _take_in(
    handles: U64, lengths: I64, positions: I64, deadlines: F64, barred: Flags, arrivals: Table,
    is_lent: bool, rounds: NDArray[np.uint32], sessions: Table,
    chunks: Table, free_chunks: I64, num_free_chunks: I64,
    queues: Table, line: I64, line_span: I64,
    frames_left: I64, free_frames: I64, num_free_frames: I64,
    blocks_left: I64, free_blocks: I64, num_free_blocks: I64,
    gap_bounds: F64, gap_counts: I64, gap_total: F64,
) -> tuple[NDArray[np.int8], I64, I64, int, int, int]:  # fmt: skip
    offsets, at = block_offsets(lengths, arrivals["end"])
    outcome = np.empty(len(handles), np.int8)
    places = np.empty((3, len(handles)), np.int64)
    slots, begins, known = places[0], places[1], places[2]
    slots[:] = handles.view(np.int64) if is_lent else find(handles, rounds, sessions)
    taken = steps = f = 0
    block = -1
    for i in range(len(arrivals)):
        arrivals[i].kind = pack_kind(arrivals[i].outputs, arrivals[i].want, arrivals[i].want_state)
    first = 0  # row of frame f
    for r in range(len(handles)):
        while r >= arrivals[f].end:
            first = arrivals[f].end
            f += 1
        arrival = arrivals[f]
        slot = slots[r]
        begins[r] = known[r] = -1
        if arrival.refused or slot < 0:
            outcome[r] = REFUSED if arrival.refused else STALE
            continue
        session = sessions[slot]
        known[r] = session.admitted
        begins[r], outcome[r] = _judge(session, positions[r], len(barred) > 0 and barred[r])
        if outcome[r] != TAKEN:
            continue
        if session.admitted > 0:
            observe(max(0.0, arrival.arrived - session.used), gap_bounds, gap_counts, gap_total)
        session.used = max(session.used, arrival.arrived)  # it may have arrived while the one before it ran
        session.broken = False
        session.admitted += lengths[r]
        _refer(arrival, frames_left, free_frames, num_free_frames)
        if block < 0:
            block = take(free_blocks, num_free_blocks)
        number = take(free_chunks, num_free_chunks)
        _fill(number, slot, begins[r], lengths[r], deadlines[r], r - first, block, at[f], arrival, chunks)
        append(number, chunks, queues, line, line_span)
        taken += 1
        steps += lengths[r]
    if block >= 0:
        blocks_left[block] = taken
    return outcome, places, offsets, block, taken, steps


@jit
def _judge(session: Any, position: int, is_barred: bool) -> tuple[int, int]:
    """Where a row's chunk begins, -1 if it names no position and its session is broken; and what becomes of it."""
    begin = position
    if position < 0 and not session.broken:
        begin = session.admitted
    if is_barred:
        return begin, INVALID
    return begin, TAKEN if begin == session.admitted else OUT_OF_PLACE


@jit
def _refer(arrival: Any, left: I64, stack: I64, count: I64) -> None:
    """One reference more to a frame, which gets its number with the first."""
    if arrival.number < 0:
        arrival.number = take(stack, count)
        left[arrival.number] = 0
    left[arrival.number] += 1


@jit
def _fill(
    number: int, slot: int, begin: int, length: int, deadline: float, row: int,
    block: int, at: int, arrival: Any, chunks: Table,
) -> None:  # fmt: skip
    """Makes a record that of a new chunk, row `row` of a frame whose steps are those from `at` on in its block."""
    begin_chunk(number, chunks)
    chunk = chunks[number]
    chunk.slot = slot
    chunk.begin = begin
    chunk.length = length
    chunk.kind = arrival.kind
    chunk.deadline = deadline
    chunk.arrived = arrival.arrived
    chunk.frame = arrival.number
    chunk.row = chunk.source = row
    chunk.block = block
    chunk.at = at


class _Columns(NamedTuple):
    handles: U64  # [R]
    lengths: I64  # [R]
    positions: I64  # [R], -1 where they are implied
    deadlines: F64  # [R] seconds on the engine's clock
    data: Array  # [N, *features] the frames' packed tensors, one after the other


def _rows(frames: Sequence[Frame]) -> _Columns:
    positions = [np.full(len(f.lengths), -1) if f.positions is None else f.positions for f in frames]
    of_each = [_Columns(f.handles, f.lengths, at, f.deadlines, f.data) for f, at in zip(frames, positions, strict=True)]
    if len(of_each) == 1:
        return of_each[0]
    return _Columns(*[np.concatenate(column) for column in zip(*of_each, strict=True)])
