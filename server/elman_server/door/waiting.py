"""Waiting: the callers that wait for room, and which of them have it now; on the engine's thread."""

from heapq import heappop, heappush
from itertools import count
from operator import itemgetter
from typing import Protocol


class Waits(Protocol):
    """What is asked of a caller that waits."""

    rows: int
    num_bytes: int

    def wake(self) -> None:
        """Has it go on, or wait on where it has no room after all."""


Entry = tuple[int, int, Waits]  # what it has, the entry's number, who


class Waiting:
    """Callers that wait for room; those that have it by now go on, the longest waiting first. Each lies under what it
    has too much of, so room for some costs nothing for those who stay full."""

    def __init__(self) -> None:
        self._since: dict[Waits, int] = {}
        self._filed: dict[Waits, Entry] = {}
        self._by_rows: list[Entry] = []
        self._by_bytes: list[Entry] = []
        self._count = count()

    def __len__(self) -> int:
        return len(self._since)

    def add(self, caller: Waits, max_rows: int) -> None:
        """It waits, or waits on with what it has by now; `max_rows`: at which a caller is full."""
        if caller not in self._since:
            self._since[caller] = next(self._count)
        is_by_rows = caller.rows >= max_rows
        entry = (caller.rows if is_by_rows else caller.num_bytes, next(self._count), caller)
        self._filed[caller] = entry
        heappush(self._by_rows if is_by_rows else self._by_bytes, entry)
        self._drop_outdated()

    def discard(self, caller: Waits) -> None:
        """It waits no longer, if it did."""
        self._since.pop(caller, None)
        self._filed.pop(caller, None)
        self._drop_outdated()

    def take_ready(self, max_rows: int, max_bytes: int) -> list[Waits]:
        """Takes out those who have room below the limits, the longest waiting first."""
        found: list[tuple[int, Waits]] = []
        for heap, limit in ((self._by_rows, max_rows), (self._by_bytes, max_bytes)):
            while heap and heap[0][0] < limit:
                entry = heappop(heap)
                caller = entry[2]
                if self._filed.get(caller) is not entry:
                    continue  # it has waited on with something else since, or waits no longer
                if caller.rows < max_rows and caller.num_bytes < max_bytes:
                    found.append((self._since[caller], caller))
                    self.discard(caller)
                else:
                    self.add(caller, max_rows)
        return [caller for _, caller in sorted(found, key=itemgetter(0))]

    def _drop_outdated(self) -> None:
        # What is out of date is thrown away before it is the larger part.
        if len(self._by_rows) + len(self._by_bytes) > 2 * len(self._filed) + 64:
            for heap in (self._by_rows, self._by_bytes):
                heap[:] = sorted(e for e in heap if self._filed.get(e[2]) is e)
