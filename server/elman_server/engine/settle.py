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
    previous_page: I64  # [B] number of the page with the chunk's slice before, or -1
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


def settle(runtime: Runtime, batch: Batch, page: int, now: float) -> Settled:
    """Completes the chunks of a batch that ran, advances their sessions, notes that `page` has its results, and
    releases the finished ones.

    `now` in seconds on the engine's clock.
    """
    chunks, queues = runtime.scheduler.chunks, runtime.scheduler.queues
    frames, blocks, held = runtime.frames, runtime.inputs.blocks, runtime.held
    return Settled(
        *_settle(
            batch.numbers, batch.slots, batch.starts, batch.takes, page, now,
            queues.table, queues.line.items, queues.line.span,
            runtime.sessions.table, chunks.table, chunks.free.stack, chunks.free.count,
            frames.left, frames.free.stack, frames.free.count,
            blocks.left, blocks.free.stack, blocks.free.count,
            held.table, held.count,
        )
    )  # fmt: skip


@jit
def _settle(
    numbers: I64, slots: I64, starts: I64, takes: I64, page: int, now: float,
    queues: Table, line: I64, line_span: I64,
    sessions: Table, chunks: Table, free_chunks: I64, num_free_chunks: I64,
    frames_left: I64, free_frames: I64, num_free_frames: I64,
    blocks_left: I64, free_blocks: I64, num_free_blocks: I64,
    held: Table, held_count: I64,
) -> Any:  # fmt: skip
    ends = starts + takes
    finished = complete(numbers, slots, ends, chunks, queues, line, line_span)
    frames, rows, positions = np.empty_like(numbers), np.empty_like(numbers), np.empty_like(numbers)
    previous_page, previous_row = np.empty_like(numbers), np.empty_like(numbers)
    lent, last_frames, last_blocks = np.empty_like(numbers), np.empty_like(numbers), np.empty_like(numbers)
    num_lent = num_frames = num_blocks = num_steps = 0
    wants_output = is_held = False
    for i, number in enumerate(numbers):
        chunk = chunks[number]
        frames[i], rows[i] = chunk.frame, chunk.row
        positions[i] = chunk.begin + ends[i]
        previous_page[i], previous_row[i] = chunk.page, chunk.page_row
        wants_output = wants_output or chunk.kind >> 1 & 3 != _NONE
        is_held = is_held or bool(sessions[chunk.slot].attached)
        if not finished[i]:
            chunk.page = page
            chunk.page_row = i
            continue
        num_steps += chunk.length
        if not _advance(chunk, sessions[chunk.slot], page, i, now, held, held_count):
            lent[num_lent] = chunk.slot
            num_lent += 1
        if release_one(chunk.frame, frames_left, free_frames, num_free_frames):
            last_frames[num_frames] = chunk.frame
            num_frames += 1
        if release_one(chunk.block, blocks_left, free_blocks, num_free_blocks):
            last_blocks[num_blocks] = chunk.block
            num_blocks += 1
        release_chunk(number, chunks, free_chunks, num_free_chunks)
    return (
        finished, frames, rows, positions, previous_page, previous_row,
        lent[:num_lent], last_frames[:num_frames], last_blocks[:num_blocks], num_steps,
        wants_output, is_held, (frames == frames[0]).all(),
    )  # fmt: skip


@jit
def _advance(chunk: Any, session: Any, page: int, row: int, now: float, held: Table, held_count: I64) -> bool:
    """A session is past a chunk, whose answer is held from now on; False for a slot that was lent."""
    session.position += chunk.length
    session.used = now
    attached = bool(session.attached)
    if attached:
        hold(chunk.slot, chunk.begin, chunk.length, chunk.kind, page, row, held, held_count)
    return attached
