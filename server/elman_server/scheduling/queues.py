"""Every session's chunks in their order, and the queue of sessions whose next chunk can run."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_server.scheduling.chunks import Chunks
from elman_server.tables.jit import jit
from elman_server.tables.slot_fifo import SlotFifo, push

I64 = NDArray[np.int64]
Flags = NDArray[np.bool_]
Table = NDArray[Any]

QUEUE = np.dtype(
    [
        ("head", np.int64),  # the slot's first chunk that waits or runs, or -1
        ("tail", np.int64),  # its last chunk, or -1
        ("up", np.int64),  # its first chunk that does not run whole by now, or -1
        ("in_line", np.bool_),
    ],
    align=True,
)


class Queues:
    """One record per slot."""

    def __init__(self, num_slots: int, chunks: Chunks) -> None:
        self.table: Table = np.zeros(num_slots, QUEUE)
        for field in ("head", "tail", "up"):
            self.table[field] = -1
        self.line = SlotFifo(num_slots)
        self._chunks = chunks

    def busy(self, slots: I64 | None = None) -> Flags:
        """[n] which of `slots`, by default of all, have chunks that wait or run."""
        heads = self.table["head"] if slots is None else self.table["head"][slots]
        busy: Flags = heads >= 0
        return busy

    def is_empty(self, slot: int) -> bool:
        """Whether the slot has none."""
        return bool(self.table["head"][slot] < 0)

    def of(self, slot: int) -> list[int]:
        """The slot's chunks, in order."""
        numbers, number = [], int(self.table["head"][slot])
        while number >= 0:
            numbers.append(number)
            number = int(self._chunks["next"][number])
        return numbers

    def append(self, number: int) -> None:
        """Puts a chunk at the end of its session's queue."""
        append(number, self._chunks.table, self.table, self.line.items, self.line.span)

    def drop(self, number: int) -> list[int]:
        """Takes a chunk and all later ones of its session out of the queue; their numbers, in order."""
        slot = int(self._chunks["slot"][number])
        queue, numbers = self.table[slot], self.of(slot)
        kept, dropped = numbers[: numbers.index(number)], numbers[numbers.index(number) :]
        queue["head"] = kept[0] if kept else -1
        queue["tail"] = kept[-1] if kept else -1
        if kept:
            self._chunks["next"][kept[-1]] = -1
        if int(queue["up"]) in dropped:
            queue["up"] = -1
        return dropped


@jit
def append(number: int, chunks: Table, queues: Table, items: I64, span: I64) -> None:
    """See `Queues.append`."""
    slot = chunks[number].slot
    queue = queues[slot]
    if queue.tail < 0:
        queue.head = number
    else:
        chunks[queue.tail].next = number
    queue.tail = number
    if queue.up < 0:
        queue.up = number
        stand_in_line(slot, queues, items, span)


@jit
def stand_in_line(slot: int, queues: Table, items: I64, span: I64) -> None:
    """Puts a slot at the end of the line, unless it stands there."""
    if not queues[slot].in_line:
        queues[slot].in_line = True
        push(slot, items, span)


@jit
def unlink(slot: int, chunks: Table, queues: Table) -> None:
    """Takes the slot's first chunk out of its queue: it is done."""
    queue = queues[slot]
    queue.head = chunks[queue.head].next
    if queue.head < 0:
        queue.tail = -1
