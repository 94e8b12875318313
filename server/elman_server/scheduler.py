"""Room 4, scheduler: ready chunks become the next batch. NumPy only: no torch, no grpc, no clock of its own."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman_models.layout import batch_sizes, step_offsets
from elman_server.chunks import Chunks
from elman_server.ring import Ring

I64 = NDArray[np.int64]


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
        self._head = np.full(num_slots, -1, np.int64)  # each slot's first chunk, or -1
        self._tail = np.full(num_slots, -1, np.int64)  # each slot's last chunk, or -1
        self._in_line = np.zeros(num_slots, np.bool_)
        self._line = Ring(num_slots)

    @property
    def has_work(self) -> bool:
        """Whether a session stands in line."""
        return len(self._line) > 0

    def busy(self) -> NDArray[np.bool_]:
        """[num_slots] which have chunks that wait or run."""
        busy: NDArray[np.bool_] = self._head >= 0
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
        self._stand_in_line(slots[first])

    def form(self, now: float) -> Formed:
        """The next batch; `now` in seconds on the engine's clock. Late chunks are left for `drop`."""
        slots = self._line.pop(self.max_rows)
        self._in_line[slots] = False
        numbers = self._head[slots]
        if numbers.size and numbers.min() < 0:  # sessions whose chunks were dropped while they stood in line
            numbers = numbers[numbers >= 0]
        late = (self.chunks.deadline[numbers] <= now) & (self.chunks.done[numbers] == 0)
        if late.any():
            return Formed(self._batch(numbers[~late]), numbers[late])
        return Formed(self._batch(numbers), numbers[:0])

    def complete(self, batch: Batch) -> NDArray[np.bool_]:
        """Advances the chunks of a batch that ran; [B] which of them are finished, and no longer queued."""
        chunks = self.chunks
        done = batch.starts + batch.takes
        chunks.done[batch.numbers] = done
        finished: NDArray[np.bool_] = done == chunks.length[batch.numbers]
        self._unlink(batch.slots[finished], batch.numbers[finished])
        self._stand_in_line(batch.slots[self._head[batch.slots] >= 0])
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
            if not self._in_line[slot]:
                self._stand_in_line(np.array([slot]))
        return dropped

    def _batch(self, numbers: I64) -> Batch | None:
        if not numbers.size:
            return None
        starts = self.chunks.done[numbers]
        takes = self.chunks.length[numbers] - starts
        if takes.min() != takes.max():
            order = np.argsort(-takes, kind="stable")
            numbers, starts, takes = numbers[order], starts[order], takes[order]
        if self.max_slice is not None:
            # As long as most rows last, and no longer: a short row does not wait for the long tail of a few.
            takes = np.minimum(takes, min(self.max_slice, takes[len(takes) // 2]))
        sizes = batch_sizes(takes)
        return Batch(numbers, self.chunks.slot[numbers], starts, takes, sizes, step_offsets(sizes))

    def _unlink(self, slots: I64, numbers: I64) -> None:
        following = self.chunks.next[numbers]
        self._head[slots] = following
        self._tail[slots[following < 0]] = -1

    def _stand_in_line(self, slots: I64) -> None:
        newcomers = slots[~self._in_line[slots]]
        self._in_line[newcomers] = True
        self._line.push(newcomers)
