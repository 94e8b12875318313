"""Commit: what a batch gave goes to sessions, held answers and callers; and what failed is taken back."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from elman_server.errors import Cancelled, PredecessorFailed, ServiceError
from elman_server.exchange.batch_result import BatchResult
from elman_server.exchange.frames import Frame, FramePart
from elman_server.exchange.result_queue import ResultQueue
from elman_server.exchange.want import Want, unpack_kind
from elman_server.models.runtime import Runtime
from elman_server.scheduling.chunks import release_chunk
from elman_server.scheduling.scheduler import Batch, complete
from elman_server.sessions.replay_buffer import hold
from elman_server.tables.jit import jit
from elman_server.tables.ref_counts import release_one
from elman_server.threads.isolated import isolated

I64 = NDArray[np.int64]
Flags = NDArray[np.bool_]
Table = NDArray[Any]
Tensors = Sequence[torch.Tensor]

_NONE = int(Want.NONE)


class Settled(NamedTuple):
    """What the tables said of a batch's rows before they were released."""

    finished: Flags  # [B] which of its chunks are complete, and no longer queued
    frames: I64  # [B] numbers of the rows' frames
    rows: I64  # [B] rows of those frames
    positions: I64  # [B] the session's position after the chunk's steps so far
    previous_result: I64  # [B] number of the result with the chunk's slice before, or -1
    previous_row: I64  # [B] its row there
    lent: I64  # slots that were lent to finished rows of `Infer`
    last_frames: I64  # numbers of frames whose last chunk this was
    last_blocks: I64  # numbers of blocks whose last chunk this was
    num_steps: int
    """Of the finished chunks."""
    wants_output: bool
    """Of any row."""
    is_held: bool
    """Whether some row is a session's, who may ask for it again; nobody can for `Infer`."""
    is_one_frame: bool
    """Whether all rows are of one frame."""


class Committed(NamedTuple):
    """A batch that is committed, before it is tidied up after."""

    settled: Settled
    result: BatchResult
    frames: list[Frame]
    """Of each row, or the one of all."""
    is_kept: bool
    """Whether the result is kept for repeats already, if it is to be."""


class Commit:
    """Ends chunks of one runtime, each exactly once: as done or as dropped."""

    def __init__(self, runtime: Runtime, result_queue: ResultQueue) -> None:
        self._runtime = runtime
        self._result_queue = result_queue

    def batch(self, batch: Batch, outputs: Tensors, states: Tensors, now: float) -> Committed:
        """A batch that ran: its outputs and states as in `Result`; `now` in seconds on the engine's clock. `clean_up`
        is to follow before anything else is admitted."""
        runtime = self._runtime
        settled = settle(runtime, batch, runtime.replay_buffer.next_number, now)
        frames = self._sinks(settled)
        result = self._result(batch, settled, outputs, states)
        self._result_queue.spread(result, frames, settled.rows)
        is_kept = bool(runtime.after)
        if settled.is_held and is_kept:  # what waits for a chunk may take the session elsewhere, its answer with it
            runtime.replay_buffer.keep(result, frames, settled.rows)
        if runtime.starting_states or runtime.after:
            self._call_after(batch.numbers[settled.finished].tolist())
        return Committed(settled, result, frames, is_kept)

    def clean_up(self, committed: Committed) -> None:
        """What no answer has to wait for: a copy of the result is kept, and what the finished chunks had is let go."""
        runtime, (settled, result, frames, is_kept) = self._runtime, committed
        if settled.is_held and not is_kept:
            runtime.replay_buffer.keep(result, frames, settled.rows)
        runtime.queue_bytes -= settled.num_steps * runtime.view.input.num_bytes
        for number in settled.last_frames.tolist():
            del runtime.frames[number]
        for number in settled.last_blocks.tolist():
            del runtime.inputs.blocks[number]
        if settled.lent.size:
            runtime.borrowed -= len(settled.lent)
            runtime.sessions.free(settled.lent)

    def _result(self, batch: Batch, settled: Settled, outputs: Tensors, states: Tensors) -> BatchResult:
        record = self._runtime.view.output.part(batch.outputs)
        return BatchResult(
            starts=batch.starts,
            takes=batch.takes,
            offsets=batch.offsets,
            finished=settled.finished,
            positions=settled.positions,
            output=record.joined([one.numpy() for one in outputs]) if settled.wants_output else None,
            states=tuple([one.numpy() for one in states]),
            previous_result=settled.previous_result,
            previous_row=settled.previous_row,
            is_last=batch.last_only,
            outputs=batch.outputs,
        )

    def drop(self, number: int, error: ServiceError, back_to: int | None = None) -> None:
        """A chunk that failed, and with it the later ones of its session, which goes back to where it was. With
        `back_to` the session is at that position already, and all of them fail of the same."""
        runtime, chunks = self._runtime, self._runtime.scheduler.chunks.table
        slot, begin = int(chunks[number]["slot"]), int(chunks[number]["begin"])
        runtime.sessions.admitted[slot] = begin if back_to is None else back_to
        runtime.sessions.broken[slot] = True
        start = runtime.starting_states.get(number)
        if start is not None:
            runtime.pool.replace(np.array([slot]), start)
        dropped = runtime.scheduler.queues.drop(number)
        self._postpone(dropped, runtime.scheduler.queues.of(slot))
        follow = _follow(error, begin) if len(dropped) > 1 and back_to is None else error
        for one in dropped:
            told = error if one == number else follow
            runtime.metrics.reject(told.reason)
            sink, row = runtime.frames[int(chunks[one]["frame"])], int(chunks[one]["row"])
            self._result_queue.fail(sink, row, told)
        lent = runtime.sessions.owner(slot) is None  # asked now: a close that waits for these chunks frees the slot
        self._release(dropped)
        if lent:
            runtime.borrowed -= 1
            runtime.sessions.free(np.array([slot]))

    def _postpone(self, dropped: list[int], kept: list[int]) -> None:
        # What waits for a dropped chunk, a close say, waits for the chunks before it.
        after = self._runtime.after
        waiting = [function for number in dropped for function in after.pop(number, ())] if after and kept else []
        if waiting:
            after.setdefault(kept[-1], []).extend(waiting)

    def drop_all(self, numbers: Iterable[int], error: ServiceError) -> int:
        """Drops those of `numbers` that live; how many of them there are."""
        chunks = self._runtime.scheduler.chunks.table
        living = [number for number in numbers if chunks[number]["live"]]
        for number in living:
            if chunks[number]["live"]:  # else it went with an earlier one of its session
                self.drop(number, error)
        return len(living)

    def cancel(self, parts: Sequence[FramePart]) -> None:
        """Drops the chunks of what a caller has asked that went away, as far as they have not begun. It costs what
        these sessions have queued, however much else there is."""
        waiting = [number for part in parts for number in self._waiting(part)]
        error = Cancelled("its caller went away before it ran; it was not applied")
        self._runtime.metrics.cancelled_rows.inc(self.drop_all(waiting, error))

    def _waiting(self, part: FramePart) -> list[int]:
        # The chunks of a part of a frame that have not begun.
        frame, rows = part
        if frame.slots is None:
            return []
        runtime, chunks = self._runtime, self._runtime.scheduler.chunks.table
        slots = np.unique(frame.slots if rows is None else frame.slots[rows])
        queued = [number for slot in slots[slots >= 0].tolist() for number in runtime.scheduler.queues.of(slot)]
        mine = [n for n in queued if runtime.frames[int(chunks[n]["frame"])] is frame and not chunks[n]["launched"]]
        leaving = None if rows is None else set(rows.tolist())
        return [n for n in mine if leaving is None or int(chunks[n]["row"]) in leaving]

    def _sinks(self, settled: Settled) -> list[Frame]:
        # The frame of each row, or the one frame of them all.
        frames = self._runtime.frames
        if settled.is_one_frame:
            return [frames[int(settled.frames[0])]]
        return [frames[number] for number in settled.frames.tolist()]

    def _release(self, numbers: list[int]) -> None:
        runtime, chunks = self._runtime, self._runtime.scheduler.chunks
        for number in numbers:
            chunk = chunks.table[number]
            runtime.queue_bytes -= int(chunk["length"]) * runtime.view.input.num_bytes
            runtime.inputs.blocks.release(int(chunk["block"]))
            runtime.frames.release(int(chunk["frame"]))
        chunks.release(numbers)
        self._call_after(numbers)

    def _call_after(self, numbers: list[int]) -> None:
        for number in numbers:
            self._runtime.starting_states.pop(number, None)
            for function in self._runtime.after.pop(number, ()):
                isolated(function, "what waited for a chunk")  # whose batch is not to be left half committed


def _follow(error: ServiceError, begin: int) -> ServiceError:
    return PredecessorFailed(
        f"the chunk at position {begin} failed ({error.reason}), so this one was not applied; "
        f"send again from position {begin}",
        metadata={"position": begin},
    )


def settle(runtime: Runtime, batch: Batch, result: int, now: float) -> Settled:
    """Completes the chunks of a batch that ran, advances their sessions, notes that `result` has its results, and
    releases the finished ones.

    `now` in seconds on the engine's clock.
    """
    chunks, queues = runtime.scheduler.chunks, runtime.scheduler.queues
    frames, blocks, held = runtime.frames, runtime.inputs.blocks, runtime.replay_buffer
    finished, columns, ends, flags = _settle(
        batch.numbers, batch.slots, batch.starts, batch.takes, result, now,
        queues.table, queues.line.items, queues.line.span,
        runtime.sessions.table, chunks.table, chunks.free.stack, chunks.free.count,
        frames.left, frames.free.stack, frames.free.count,
        blocks.left, blocks.free.stack, blocks.free.count,
        held.table, held.count,
    )  # fmt: skip
    return Settled(finished, *columns, *[one[1 : 1 + one[0]] for one in ends], *flags)


@jit
def _settle(
    numbers: I64, slots: I64, starts: I64, takes: I64, result: int, now: float,
    queues: Table, line: I64, line_span: I64,
    sessions: Table, chunks: Table, free_chunks: I64, num_free_chunks: I64,
    frames_left: I64, free_frames: I64, num_free_frames: I64,
    blocks_left: I64, free_blocks: I64, num_free_blocks: I64,
    held: Table, held_count: I64,
) -> Any:  # fmt: skip
    ends = starts + takes
    finished = complete(numbers, slots, ends, chunks, queues, line, line_span)
    columns = np.empty((5, len(numbers)), np.int64)  # frames, rows, positions, previous results and rows
    lists = np.zeros((3, len(numbers) + 1), np.int64)  # lent slots, last frames and blocks; how many come first
    num_steps, is_one_frame = 0, True
    wants_output = is_held = False
    for i, number in enumerate(numbers):
        chunk = chunks[number]
        columns[0, i], columns[1, i], columns[2, i] = chunk.frame, chunk.row, chunk.begin + ends[i]
        columns[3, i], columns[4, i] = chunk.result, chunk.result_row
        is_one_frame = is_one_frame and chunk.frame == columns[0, 0]
        wants_output = wants_output or unpack_kind(chunk.kind)[1] != _NONE
        is_held = is_held or bool(sessions[chunk.slot].attached)
        if not finished[i]:
            chunk.result = result
            chunk.result_row = i
            continue
        num_steps += chunk.length
        if not _advance(chunk, sessions[chunk.slot], result, i, now, held, held_count):
            _append(chunk.slot, lists[0])
        if release_one(chunk.frame, frames_left, free_frames, num_free_frames):
            _append(chunk.frame, lists[1])
        if release_one(chunk.block, blocks_left, free_blocks, num_free_blocks):
            _append(chunk.block, lists[2])
        release_chunk(number, chunks, free_chunks, num_free_chunks)
    return finished, columns, lists, (num_steps, wants_output, is_held, is_one_frame)


@jit
def _append(number: int, numbers: I64) -> None:
    numbers[0] += 1
    numbers[numbers[0]] = number


@jit
def _advance(chunk: Any, session: Any, result: int, row: int, now: float, held: Table, held_count: I64) -> bool:
    """A session is past a chunk, whose answer is held from now on; False for a slot that was lent."""
    session.position += chunk.length
    session.used = now
    attached = bool(session.attached)
    if attached:
        hold(chunk.slot, chunk.begin, chunk.length, chunk.kind, result, row, held, held_count)
    return attached
