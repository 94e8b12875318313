"""A free list: the numbers of a table's records that stand for nothing."""

import numpy as np
from numpy.typing import NDArray

from elman_server.tables.jit import jit

I64 = NDArray[np.int64]


class FreeList:
    """A stack of numbers below `capacity`."""

    def __init__(self, capacity: int) -> None:
        self.stack = np.arange(capacity, dtype=np.int64)  # free are the first `count[0]`
        self.count = np.array([capacity], np.int64)

    def __len__(self) -> int:
        return int(self.count[0])

    @property
    def num_taken(self) -> int:
        """Those that stand for something."""
        return len(self.stack) - int(self.count[0])

    def take(self) -> int:
        """One of them."""
        if not len(self):
            raise OverflowError(f"all {len(self.stack)} numbers are taken")
        return take(self.stack, self.count)

    def give_back(self, number: int) -> None:
        """Makes one free again."""
        give_back(number, self.stack, self.count)


@jit
def take(stack: I64, count: I64) -> int:
    """See `FreeList.take`; there is one."""
    count[0] -= 1
    return stack[count[0]]  # type: ignore[no-any-return]


@jit
def give_back(number: int, stack: I64, count: I64) -> None:
    """See `FreeList.give_back`."""
    stack[count[0]] = number
    count[0] += 1
