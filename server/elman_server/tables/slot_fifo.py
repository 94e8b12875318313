"""A first-in, first-out ring of slots."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_server.tables.jit import jit

I64 = NDArray[np.int64]
Table = NDArray[Any]


class SlotFifo:
    """Holds at most `capacity` slots."""

    def __init__(self, capacity: int) -> None:
        self.items = np.zeros(capacity, np.int64)
        self.span = np.zeros(2, np.int64)  # where the oldest stands, how many there are

    def __len__(self) -> int:
        return int(self.span[1])

    def push(self, items: I64) -> None:
        """Appends `items`, in order."""
        capacity = len(self.items)
        if len(self) + len(items) > capacity:
            raise OverflowError(f"a ring of {capacity} has no room for {len(items)} beside {len(self)}")
        for item in items.tolist():
            push(item, self.items, self.span)

    def pop(self, count: int) -> I64:
        """Takes the oldest `count`, or as many as there are."""
        return pop(count, self.items, self.span)


@jit
def push(item: int, items: I64, span: I64) -> None:
    """Appends one, for which there is room."""
    items[(span[0] + span[1]) % len(items)] = item
    span[1] += 1


@jit
def pop(count: int, items: I64, span: I64) -> I64:
    """See `SlotFifo.pop`."""
    count = min(count, span[1])
    oldest = np.empty(count, np.int64)
    for i in range(count):
        oldest[i] = items[(span[0] + i) % len(items)]
    if count:
        span[0] = (span[0] + count) % len(items)
        span[1] -= count
    return oldest
