"""The ring of held pages: numbered, within a limit of bytes, the oldest overwritten first."""

from collections import deque
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman_server.pages import Page

Array = NDArray[Any]

_LINE = 64
"""Bytes of a cache line: where arrays begin."""


class _Kept(NamedTuple):
    begin: int
    """In all the bytes given out so far."""
    num_bytes: int
    page: Page


class PageRing:
    """Keeps copies of pages' tensors, in memory that is given out and taken back in order.

    They are copied because the memory that a batch was computed in is then free, and warm, for the next one: holding on
    to the tensors themselves made the kernel half as slow again.
    """

    def __init__(self, max_bytes: int) -> None:
        """The system backs the memory as it is first written to."""
        self._memory = np.empty(max_bytes // _LINE * _LINE, np.uint8)
        self._max_bytes = max_bytes
        self._kept: deque[_Kept] = deque()
        self._end = 0  # bytes given out so far, those skipped at the memory's end included
        self._first = 0  # number of the oldest page kept
        self.num_bytes = 0

    @property
    def next_number(self) -> int:
        """The number that the next page gets."""
        return self._first + len(self._kept)

    def append(self, page: Page) -> int:
        """The number of `page`; the oldest are let go to make room, and one that has none is gone at once."""
        number = self.next_number
        capacity, wanted, num_bytes = len(self._memory), _room(page), page.num_bytes
        if wanted > capacity or num_bytes > self._max_bytes:
            self._kept.clear()
            self._first, self.num_bytes = number + 1, 0
            return number
        if capacity and self._end % capacity + wanted > capacity:
            self._end += -self._end % capacity
        self._make_room(self._end + wanted - capacity, self._max_bytes - num_bytes)
        begin = self._end
        copies = self._copied(page.output), self._copied(page.h_n), self._copied(page.c_n)
        self.num_bytes += num_bytes
        self._kept.append(_Kept(begin, num_bytes, page.with_tensors(*copies)))
        return number

    def get(self, number: int) -> Page | None:
        """The page of that number, if it is still kept. Its tensors are overwritten one day: copy what leaves."""
        return self._kept[number - self._first].page if number >= self._first else None

    def _make_room(self, begin: int, num_bytes: int) -> None:
        while self._kept and (self._kept[0].begin < begin or self.num_bytes > num_bytes):
            self.num_bytes -= self._kept.popleft().num_bytes
            self._first += 1

    def _copied(self, array: Array | None) -> Array | None:
        if array is None:
            return None
        at = self._end % len(self._memory)
        copy: Array = self._memory[at : at + array.nbytes].view(array.dtype).reshape(array.shape)
        copy[...] = array
        self._end += _aligned(array.nbytes)
        return copy


def _room(page: Page) -> int:
    return sum([_aligned(array.nbytes) for array in page.tensors])


def _aligned(num_bytes: int) -> int:
    return -(-num_bytes // _LINE) * _LINE
