"""Objects under numbers, each kept for as long as chunks refer to it."""

from collections.abc import ItemsView
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class Counted(Generic[T]):
    """A table of objects with a count of the references left to each."""

    def __init__(self, capacity: int) -> None:
        """`capacity`: most objects at a time."""
        self._items: dict[int, T] = {}
        self._left = np.zeros(capacity, np.int64)
        self._free = list(range(capacity))

    def __getitem__(self, number: int) -> T:
        return self._items[number]

    def items(self) -> ItemsView[int, T]:
        """Numbers and objects."""
        return self._items.items()

    def put(self, item: T, references: int) -> int:
        """The number of `item`, kept until `references` are released."""
        number = self._free.pop()
        self._items[number] = item
        self._left[number] = references
        return number

    def release(self, numbers: NDArray[np.int64]) -> None:
        """One reference less for each of `numbers`, which may repeat."""
        if len(numbers) > 1:
            np.subtract.at(self._left, numbers, 1)
            ended = np.unique(numbers[self._left[numbers] == 0]).tolist()
        else:
            self._left[numbers] -= 1
            ended = numbers[self._left[numbers] == 0].tolist()
        for number in ended:
            del self._items[number]
            self._free.append(number)
