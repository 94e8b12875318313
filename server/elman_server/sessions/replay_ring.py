"""The ring of results that are kept for replay: numbered, within a limit of bytes, the oldest overwritten first."""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman_server.exchange.batch_result import BatchResult

Array = NDArray[Any]

_LINE = 64
"""Bytes of a cache line: where arrays begin."""


class _Kept(NamedTuple):
    number: int
    begin: int
    """In all the bytes given out so far."""
    num_bytes: int


class ReplayRing:
    """Keeps copies of pages' tensors, in memory that is given out and taken back in order.

    They are copied because the memory that a batch was computed in is then free, and warm, for the next one: holding on
    to the tensors themselves made the kernel half as slow again.
    """

    def __init__(self, max_bytes: int) -> None:
        """The system backs the memory as it is first written to."""
        self._memory = np.empty(max_bytes // _LINE * _LINE, np.uint8)
        self._max_bytes = max_bytes
        self._kept: deque[_Kept] = deque()
        self._pages: dict[int, list[BatchResult]] = {}  # by number, in the order of `_kept`
        self._end = 0  # bytes given out so far, those skipped at the memory's end included
        self.num_bytes = 0

    def put(self, number: int, page: BatchResult) -> bool:
        """Keeps `page` as one of that number, and lets the oldest go to make room; whether it fits. One that is too
        large is not kept, and costs no other its place."""
        capacity, num_bytes = len(self._memory), page.num_bytes
        wanted = sum([_aligned(array.nbytes) for array in page.tensors])
        if wanted > capacity or num_bytes > self._max_bytes:
            return False
        if capacity and self._end % capacity + wanted > capacity:
            self._end += -self._end % capacity
        self._make_room(self._end + wanted - capacity, self._max_bytes - num_bytes)
        begin = self._end
        output = None if page.output is None else self._copied(page.output)
        copy = page.with_tensors(output, tuple([self._copied(array) for array in page.states]))
        self.num_bytes += num_bytes
        self._kept.append(_Kept(number, begin, num_bytes))
        self._pages.setdefault(number, []).append(copy)
        return True

    def get(self, number: int) -> Sequence[BatchResult]:
        """The pages of that number that are still kept. Their tensors are overwritten one day: copy what leaves."""
        return self._pages.get(number, ())

    def _make_room(self, begin: int, num_bytes: int) -> None:
        while self._kept and (self._kept[0].begin < begin or self.num_bytes > num_bytes):
            oldest = self._kept.popleft()
            self.num_bytes -= oldest.num_bytes
            pages = self._pages[oldest.number]
            del pages[0]
            if not pages:
                del self._pages[oldest.number]

    def _copied(self, array: Array) -> Array:
        at = self._end % len(self._memory)
        copy: Array = self._memory[at : at + array.nbytes].view(array.dtype).reshape(array.shape)
        copy[...] = array
        self._end += _aligned(array.nbytes)
        return copy


def _aligned(num_bytes: int) -> int:
    return -(-num_bytes // _LINE) * _LINE
