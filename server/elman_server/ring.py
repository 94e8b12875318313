"""A first-in, first-out ring of slots."""

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]


class Ring:
    """Holds at most `capacity` slots."""

    def __init__(self, capacity: int) -> None:
        self._items = np.zeros(capacity, np.int64)
        self._first = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, items: I64) -> None:
        """Appends `items`, in order."""
        capacity = len(self._items)
        if self._count + len(items) > capacity:
            raise OverflowError(f"a ring of {capacity} has no room for {len(items)} beside {self._count}")
        start = (self._first + self._count) % capacity
        room = min(len(items), capacity - start)
        self._items[start : start + room] = items[:room]
        self._items[: len(items) - room] = items[room:]
        self._count += len(items)

    def pop(self, count: int) -> I64:
        """Takes the oldest `count`, or as many as there are."""
        count = min(count, self._count)
        capacity = len(self._items)
        room = min(count, capacity - self._first)
        items = np.concatenate([self._items[self._first : self._first + room], self._items[: count - room]])
        self._first = (self._first + count) % capacity
        self._count -= count
        return items
