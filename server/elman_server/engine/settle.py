"""What a batch that ran does to the tables of its model, all in one go."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman_server.exchange.frames import Want
from elman_server.models.runtime import Runtime
from elman_server.scheduling.chunks import release_chunk
from elman_server.scheduling.scheduler import Batch, complete
from elman_server.sessions.replay_buffer import hold
from elman_server.tables.jit import jit
from elman_server.tables.ref_counts import release_one

I64 = NDArray[np.int64]
Flags = NDArray[np.bool_]
Table = NDArray[Any]

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
        wants_output = wants_output or chunk.kind >> 1 & 3 != _NONE
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
