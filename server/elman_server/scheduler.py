"""Room 4, scheduler: ready chunks become the next batch. NumPy only: no torch, no grpc, no clock of its own."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman_models.layout import batch_sizes, step_offsets
from elman_server.chunks import Chunks
from elman_server.ring import Ring

I64 = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(slots=True)
class Batch:
    """What one engine step runs: one row per session, longest part first."""

    numbers: I64  # [B] chunks
    slots: I64  # [B] distinct
    starts: I64  # [B] steps of the chunk done before
    takes: I64  # [B] steps to do now, non-increasing
    sizes: I64  # [max(takes)] rows that have step t
    offsets: I64  # [max(takes)] where step t begins in the packed tensor

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
        self.max_rows = max_rows
        self.max_slice = max_slice
        self._head = np.full(num_slots, -1, np.int64)  # each slot's first chunk that waits or runs, or -1
        self._tail = np.full(num_slots, -1, np.int64)  # each slot's last chunk, or -1
        self._up = np.full(num_slots, -1, np.int64)  # each slot's first chunk that does not run whole by now, or -1
        self._in_line = np.zeros(num_slots, np.bool_)
        self._line = Ring(num_slots)

    @property
    def has_work(self) -> bool:
        """Whether a session stands in line."""
        return len(self._line) > 0

    @property
    def num_ready(self) -> int:
        """Rows that the next batch may have."""
        return min(len(self._line), self.max_rows)

    def busy(self) -> Flags:
        """[num_slots] which have chunks that wait or run."""
        busy: Flags = self._head >= 0
        return busy

    def queue(self, slot: int) -> list[int]:
        """The slot's chunks, in order."""
        numbers, number = [], int(self._head[slot])
        while number >= 0:
            numbers.append(number)
            number = int(self.chunks.next[number])
        return numbers

    def enqueue(self, numbers: I64) -> None:
        """Puts chunks, of distinct slots, at the end of their sessions' queues."""
        slots = self.chunks.slot[numbers]
        tails = self._tail[slots]
        first = tails < 0
        self._head[slots[first]] = numbers[first]
        self.chunks.next[tails[~first]] = numbers[~first]
        self._tail[slots] = numbers
        up = self._up[slots] < 0
        self._up[slots[up]] = numbers[up]
        self._stand_in_line(slots[up])

    def form(self, now: float) -> Formed:
        """The next batch, which runs from now on; `now` in seconds on the engine's clock. Late chunks are left for
        `drop`."""
        slots = self._line.pop(self.max_rows)
        self._in_line[slots] = False
        numbers = self._up[slots]
        if numbers.size and numbers.min() < 0:  # sessions whose chunks were dropped while they stood in line
            numbers = numbers[numbers >= 0]
        late = (self.chunks.deadline[numbers] <= now) & (self.chunks.launched[numbers] == 0)
        if late.any():
            return Formed(self._batch(numbers[~late]), numbers[late])
        return Formed(self._batch(numbers), numbers[:0])

    def complete(self, batch: Batch) -> Flags:
        """Takes in that a batch ran; [B] which of its chunks are finished, and no longer queued."""
        finished: Flags = batch.starts + batch.takes == self.chunks.length[batch.numbers]
        if finished.all():
            self._unlink(batch.slots, batch.numbers)
        else:
            self._unlink(batch.slots[finished], batch.numbers[finished])
            # The next slice of a long chunk waits for the one before, so that those who came meanwhile go first.
            self._stand_in_line(batch.slots[~finished])
        return finished

    def drop(self, number: int) -> list[int]:
        """Takes a chunk and all later ones of its session out of the queue; their numbers, in order."""
        slot = int(self.chunks.slot[number])
        queue = self.queue(slot)
        kept, dropped = queue[: queue.index(number)], queue[queue.index(number) :]
        self._head[slot] = kept[0] if kept else -1
        self._tail[slot] = kept[-1] if kept else -1
        if kept:
            self.chunks.next[kept[-1]] = -1
        if int(self._up[slot]) in dropped:
            self._up[slot] = -1
        return dropped

    def _batch(self, numbers: I64) -> Batch | None:
        if not numbers.size:
            return None
        starts = self.chunks.launched[numbers]
        takes = self.chunks.length[numbers] - starts
        if takes.min() != takes.max():
            order = np.argsort(-takes, kind="stable")
            numbers, starts, takes = numbers[order], starts[order], takes[order]
        if self.max_slice is not None:
            # As long as most rows last, and no longer: a short row does not wait for the long tail of a few.
            takes = np.minimum(takes, min(self.max_slice, takes[len(takes) // 2]))
        sizes = batch_sizes(takes)
        batch = Batch(numbers, self.chunks.slot[numbers], starts, takes, sizes, step_offsets(sizes))
        self._launch(batch)
        return batch

    def _launch(self, batch: Batch) -> None:
        # A session whose chunk runs whole stands in line again with its next one.
        chunks, ends = self.chunks, batch.starts + batch.takes
        chunks.launched[batch.numbers] = ends
        whole = ends == chunks.length[batch.numbers]
        slots, numbers = (batch.slots, batch.numbers) if whole.all() else (batch.slots[whole], batch.numbers[whole])
        following = chunks.next[numbers]
        self._up[slots] = following
        self._stand_in_line(slots[following >= 0])

    def _unlink(self, slots: I64, numbers: I64) -> None:
        following = self.chunks.next[numbers]
        self._head[slots] = following
        self._tail[slots[following < 0]] = -1

    def _stand_in_line(self, slots: I64) -> None:
        newcomers = slots[~self._in_line[slots]]
        self._in_line[newcomers] = True
        self._line.push(newcomers)
