"""Chunks that wait or run: one column per fact, so that no step touches them one by one."""

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]


class Chunks:
    """A table of fixed capacity; a chunk's number is its index in every column."""

    def __init__(self, capacity: int) -> None:
        """`capacity`: most chunks at a time."""
        self.live = np.zeros(capacity, np.bool_)  # whether it waits or runs
        self.slot = np.zeros(capacity, np.int64)
        self.begin = np.zeros(capacity, np.int64)  # position of its session at its first step
        self.length = np.zeros(capacity, np.int64)  # steps
        self.launched = np.zeros(capacity, np.int64)  # steps run or running
        self.kind = np.zeros(capacity, np.int64)  # Frame.kind
        self.deadline = np.zeros(capacity, np.float64)  # seconds on the engine's clock
        self.arrived = np.zeros(capacity, np.float64)  # seconds on the engine's clock
        self.frame = np.zeros(capacity, np.int64)  # number of its frame among those open
        self.row = np.zeros(capacity, np.int64)  # row of that frame
        self.block = np.zeros(capacity, np.int64)  # where its input lies: see Inputs
        self.at = np.zeros(capacity, np.int64)
        self.source = np.zeros(capacity, np.int64)
        self.page = np.zeros(capacity, np.int64)  # where its last slice's output lies, or -1: see Held
        self.page_row = np.zeros(capacity, np.int64)
        self.next = np.zeros(capacity, np.int64)  # the session's next chunk, or -1
        self._free = np.arange(capacity, dtype=np.int64)
        self.num_free = capacity

    @property
    def num_live(self) -> int:
        """Chunks that wait or run."""
        return len(self._free) - self.num_free

    def take(self, count: int) -> I64:
        """[count] numbers of chunks to fill in; `count` is at most `num_free`."""
        if count > self.num_free:
            raise OverflowError(f"{count} chunks asked for, {self.num_free} free")
        self.num_free -= count
        numbers = self._free[self.num_free : self.num_free + count].copy()
        self.live[numbers] = True
        self.launched[numbers] = 0
        self.page[numbers] = -1
        self.next[numbers] = -1
        return numbers

    def release(self, numbers: I64) -> None:
        """Gives `numbers` back."""
        self.live[numbers] = False
        self._free[self.num_free : self.num_free + len(numbers)] = numbers
        self.num_free += len(numbers)
