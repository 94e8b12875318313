"""Chunks that wait or run: a table of records, one per chunk."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_server.tables.free_list import FreeList, give_back
from elman_server.tables.jit import jit

I64 = NDArray[np.int64]
Table = NDArray[Any]

CHUNK = np.dtype(
    [
        ("slot", np.int64),
        ("begin", np.int64),  # position of its session at its first step
        ("length", np.int64),  # steps
        ("launched", np.int64),  # steps run or running
        ("kind", np.int64),  # what is asked back: see pack_kind
        ("deadline", np.float64),  # seconds on the engine's clock
        ("arrived", np.float64),  # seconds on the engine's clock
        ("frame", np.int64),  # number of its frame among those open
        ("row", np.int64),  # row of that frame
        ("block", np.int64),  # where its input lies: see Inputs
        ("at", np.int64),
        ("source", np.int64),
        ("result", np.int64),  # where its last slice's output lies, or -1: see ReplayBuffer
        ("result_row", np.int64),
        ("next", np.int64),  # the session's next chunk, or -1
        ("live", np.bool_),  # whether it waits or runs
    ],
    align=True,
)


class Chunks:
    """A table of fixed capacity; a chunk's number is its index."""

    def __init__(self, capacity: int) -> None:
        """`capacity`: most chunks at a time."""
        self.table: Table = np.zeros(capacity, CHUNK)
        self.free = FreeList(capacity)

    def __getitem__(self, field: str) -> Table:
        """One field of all chunks."""
        column: Table = self.table[field]
        return column

    def take(self) -> int:
        """The number of a new chunk, to be filled in."""
        number = self.free.take()
        begin_chunk(number, self.table)
        return number

    def release(self, numbers: Iterable[int]) -> None:
        """Gives `numbers` back."""
        for number in numbers:
            release_chunk(number, self.table, self.free.stack, self.free.count)


@jit
def begin_chunk(number: int, table: Table) -> None:
    """Makes the record that of a new chunk."""
    chunk = table[number]
    chunk.live = True
    chunk.launched = 0
    chunk.result = -1
    chunk.result_row = 0
    chunk.next = -1


@jit
def release_chunk(number: int, table: Table, stack: I64, count: I64) -> None:
    """Gives one number back."""
    table[number].live = False
    give_back(number, stack, count)
