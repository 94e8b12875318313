"""Reference counts: objects under numbers, each kept for as long as chunks refer to it."""

from collections.abc import ItemsView, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from elman_server.tables.free_list import FreeList, give_back
from elman_server.tables.jit import jit

I64 = NDArray[np.int64]
T = TypeVar("T")


class RefCounted(Generic[T]):
    """A table of objects with a count of the references left to each."""

    def __init__(self, capacity: int) -> None:
        """`capacity`: most objects at a time."""
        self.free = FreeList(capacity)
        self.left = np.zeros(capacity, np.int64)
        self._items: dict[int, T] = {}

    def __getitem__(self, number: int) -> T:
        return self._items[number]

    def items(self) -> ItemsView[int, T]:
        """Numbers and objects."""
        return self._items.items()

    def put(self, item: T, references: int) -> int:
        """The number of `item`, kept until `references` are released."""
        number = self.free.take()
        self._items[number] = item
        self.left[number] = references
        return number

    def fill(self, numbers: list[int], items: Sequence[T]) -> None:
        """Puts items under numbers that were taken for them; -1 for an item that needs none."""
        for number, item in zip(numbers, items, strict=True):
            if number >= 0:
                self._items[number] = item

    def release(self, number: int, references: int = 1) -> None:
        """So many references less."""
        self.left[number] -= references
        if not self.left[number]:
            self.free.give_back(number)
            self.forget([number])

    def forget(self, numbers: list[int]) -> None:
        """Lets go of objects whose last reference `release_one` released."""
        for number in numbers:
            del self._items[number]


@jit
def release_one(number: int, left: I64, stack: I64, count: I64) -> bool:
    """One reference less; whether it was the last."""
    left[number] -= 1
    ended = bool(left[number] == 0)
    if ended:
        give_back(number, stack, count)
    return ended
