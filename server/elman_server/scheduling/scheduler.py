"""Room 4, scheduler: ready chunks become the next batch. Tables of numbers: no torch, no grpc, no clock of its own."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman_server.exchange.want import Want, unpack_kind
from elman_server.scheduling.chunks import Chunks
from elman_server.scheduling.queues import Queues, stand_in_line, unlink
from elman_server.tables.jit import jit
from elman_server.tables.slot_fifo import pop
from elman_server.telemetry.histogram import Histogram, observe

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Flags = NDArray[np.bool_]
Table = NDArray[Any]

_NO_SLICE = 1 << 62
_ALL, _NONE = int(Want.ALL), int(Want.NONE)


@dataclass(slots=True)
class Batch:
    """What one engine step runs: one row per session, longest part first."""

    numbers: I64  # [B] chunks
    slots: I64  # [B] distinct
    starts: I64  # [B] steps of the chunk done before
    takes: I64  # [B] steps to do now, non-increasing
    sizes: I64  # [max(takes)] rows that have step t
    offsets: I64  # [max(takes)] where step t begins in the packed tensor
    begins_longer: bool
    """Whether a chunk begins here and goes on after."""
    wants_state: bool
    """Whether a chunk that ends here is to give its session's state."""
    last_only: bool
    """Whether the outputs of the rows' last steps are all that is to be computed, and not all steps are such."""
    outputs: int
    """Which outputs some chunk is to give, as bits."""
    block: int
    """Where all rows' input lies, see `InputBlocks`; -1: in several blocks."""

    @property
    def num_steps(self) -> int:
        """Session-steps: sum(takes)."""
        return int(self.offsets[-1] + self.sizes[-1])


class Formed(NamedTuple):
    """The next batch, if there is work, and the chunks whose time was over before they began."""

    batch: Batch | None
    late: I64


class Scheduler:
    """Round robin over the sessions that have chunks: at most one row per session and batch, at most
    `max_slice` steps per row, the rest of a longer chunk at the back of the line. A batch ends when half of its rows
    have: so the rows that have one step more do not keep the others waiting for sixteen."""

    def __init__(self, num_slots: int, max_chunks: int, max_rows: int, max_slice: int | None) -> None:
        """`max_slice` None: every chunk runs whole, as bidirectional stacks need it."""
        self.chunks = Chunks(max_chunks)
        self.queues = Queues(num_slots, self.chunks)
        self.max_rows = max_rows
        self.max_slice = max_slice

    @property
    def has_work(self) -> bool:
        """Whether a session stands in line."""
        return bool(self.queues.line.span[1])

    @property
    def num_ready(self) -> int:
        """Rows that the next batch may have."""
        return min(len(self.queues.line), self.max_rows)

    def form(self, now: float) -> Formed:
        """The next batch, which runs from now on; `now` in seconds on the engine's clock. Late chunks are left for
        `Queues.drop`."""
        max_slice = _NO_SLICE if self.max_slice is None else self.max_slice
        line = self.queues.line
        late, rows, steps, flags = _form(
            now, self.max_rows, max_slice, self.chunks.table, self.queues.table, line.items, line.span
        )
        return Formed(Batch(*rows, *steps, *flags) if rows.size else None, late)

    def observe_waits(self, batch: Batch, now: float, histogram: Histogram) -> None:
        """Counts how long the chunks have waited that begin in a batch; `now` in seconds on the engine's clock."""
        _observe_waits(batch.numbers, batch.starts, now, self.chunks.table, *histogram.columns)

    def complete(self, batch: Batch) -> Flags:
        """Takes in that a batch ran; [B] which of its chunks are finished, and no longer queued."""
        line = self.queues.line
        ends = batch.starts + batch.takes
        return complete(batch.numbers, batch.slots, ends, self.chunks.table, self.queues.table, line.items, line.span)


@jit
def _form(now: float, max_rows: int, max_slice: int, chunks: Table, queues: Table, items: I64, span: I64) -> Any:
    """See `Scheduler.form`: the chunks that are late; the batch's columns of rows [4, B] and of steps [2, max(takes)],
    empty where there is none; its flags. Columns are rows of one array, since each array that leaves compiled code
    costs as much as a short loop."""
    numbers, late = _next_in_line(now, max_rows, chunks, queues, items, span)
    if not len(numbers):
        return late, np.empty((4, 0), np.int64), np.empty((2, 0), np.int64), (False, False, False, 0, -1)
    # As long as most rows last, and no longer: a short row does not wait for the long tail of a few.
    rows, steps = _cut(numbers, max_slice, 0 if max_slice == _NO_SLICE else len(numbers) // 2, chunks)
    return late, rows, steps, _launch(rows, chunks, queues, items, span)


@jit
def _next_in_line(now: float, max_rows: int, chunks: Table, queues: Table, items: I64, span: I64) -> tuple[I64, I64]:
    """The chunks that are up for the sessions that stand first, and those of them that are late."""
    slots = pop(max_rows, items, span)
    numbers, late = np.empty(len(slots), np.int64), np.empty(len(slots), np.int64)
    num_ready = num_late = 0
    for slot in slots:
        queues[slot].in_line = False
        number = queues[slot].up
        if number < 0:
            continue  # its chunks were dropped while it stood in line
        if chunks[number].launched == 0 and chunks[number].deadline <= now:
            late[num_late] = number
            num_late += 1
        else:
            numbers[num_ready] = number
            num_ready += 1
    return numbers[:num_ready], late[:num_late]


@jit
def _cut(numbers: I64, max_slice: int, middle: int, chunks: Table) -> tuple[I64, I64]:
    """The batch of `numbers`, as long as its row `middle`, counted from the longest: its chunks, slots, starts, takes;
    and of each step how many rows have it, and where it begins."""
    takes = np.empty(len(numbers), np.int64)
    for i, number in enumerate(numbers):
        takes[i] = chunks[number].length - chunks[number].launched
    if takes.min() != takes.max():
        order = np.argsort(-takes, kind="mergesort")  # stable
        numbers, takes = numbers[order], takes[order]
    most = min(max_slice, takes[middle])
    rows = np.empty((4, len(numbers)), np.int64)
    for i, number in enumerate(numbers):
        chunk = chunks[number]
        rows[0, i], rows[1, i], rows[2, i], rows[3, i] = number, chunk.slot, chunk.launched, min(most, takes[i])
    steps, size, offset = np.empty((2, rows[3, 0]), np.int64), len(takes), 0
    for t in range(steps.shape[1]):
        while rows[3, size - 1] <= t:
            size -= 1
        steps[0, t], steps[1, t] = size, offset
        offset += size
    return rows, steps


@jit
def _launch(rows: I64, chunks: Table, queues: Table, items: I64, span: I64) -> tuple[bool, bool, bool, int, int]:
    """Notes what runs now; whether a chunk begins and goes on after, whether one that ends is to give a state, whether
    the last steps' outputs are enough, which outputs any is to give, and where their input lies. A session
    whose chunk runs whole stands in line again with its next one."""
    longer = wants_state = wants_every_step = False
    outputs, block = 0, chunks[rows[0, 0]].block
    for i in range(rows.shape[1]):
        chunk, start = chunks[rows[0, i]], rows[2, i]
        chunk.launched = start + rows[3, i]
        if chunk.block != block:
            block = -1
        own_outputs, want, want_state = unpack_kind(chunk.kind)
        wants_every_step = wants_every_step or want == _ALL
        if want != _NONE:
            outputs |= own_outputs
        if chunk.launched == chunk.length:
            wants_state = wants_state or want_state
            queues[chunk.slot].up = chunk.next
            if chunk.next >= 0:
                stand_in_line(chunk.slot, queues, items, span)
        elif start == 0:
            longer = True
    last_only = not wants_every_step and rows[3, 0] > 1
    return longer, wants_state, last_only, outputs, block


@jit
def complete(numbers: I64, slots: I64, ends: I64, chunks: Table, queues: Table, items: I64, span: I64) -> Flags:
    """See `Scheduler.complete`. The next slice of a long chunk waits for the one before, so that those who came
    meanwhile go first."""
    finished = np.empty(len(numbers), np.bool_)
    for i, number in enumerate(numbers):
        finished[i] = ends[i] == chunks[number].length
        if finished[i]:
            unlink(slots[i], chunks, queues)
        else:
            stand_in_line(slots[i], queues, items, span)
    return finished


@jit
def _observe_waits(numbers: I64, starts: I64, now: float, chunks: Table, bounds: F64, counts: I64, total: F64) -> None:
    for i, number in enumerate(numbers):
        if starts[i] == 0:
            observe(now - chunks[number].arrived, bounds, counts, total)
