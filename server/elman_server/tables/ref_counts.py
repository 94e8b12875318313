"""Reference counts: objects under numbers, each kept for as long as chunks refer to it."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from elman_server.tables.free_list import FreeList, give_back
from elman_server.tables.jit import jit

I64 = NDArray[np.int64]
T = TypeVar("T")


class RefCounted(dict[int, T]):
    """Objects by number, with a count of the references left to each.

    Compiled loops take numbers and count references, in `free` and `left`; whoever runs them puts the objects under the
    numbers that they took, and deletes those whose last reference `release_one` released.
    """

    def __init__(self, capacity: int) -> None:
        """`capacity`: most objects at a time."""
        super().__init__()
        self.free = FreeList(capacity)
        self.left = np.zeros(capacity, np.int64)

    def put(self, item: T, references: int) -> int:
        """The number of `item`, kept until `references` are released."""
        number = self.free.take()
        self[number] = item
        self.left[number] = references
        return number

    def release(self, number: int, references: int = 1) -> None:
        """So many references less."""
        self.left[number] -= references
        if not self.left[number]:
            self.free.give_back(number)
            del self[number]


@jit
def release_one(number: int, left: I64, stack: I64, count: I64) -> bool:
    """One reference less; whether it was the last."""
    left[number] -= 1
    ended = bool(left[number] == 0)
    if ended:
        give_back(number, stack, count)
    return ended
