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
    """Keeps copies of results' tensors, in memory that is given out and taken back in order.

    They are copied because the memory that a batch was computed in is then free, and warm, for the next one: holding on
    to the tensors themselves made the kernel half as slow again.
    """

    def __init__(self, max_bytes: int) -> None:
        """The system backs the memory as it is first written to."""
        self._memory = np.empty(max_bytes // _LINE * _LINE, np.uint8)
        self._max_bytes = max_bytes
        self._kept: deque[_Kept] = deque()
        self._results: dict[int, list[BatchResult]] = {}  # by number, in the order of `_kept`
        self._end = 0  # bytes given out so far, those skipped at the memory's end included
        self.num_bytes = 0

    def put(self, number: int, result: BatchResult, num_bytes: int) -> bool:
        """Keeps `result`, of `num_bytes`, under that number, and lets the oldest go to make room; whether it fits.
        One that is too large is not kept, and costs no other its place."""
        capacity = len(self._memory)
        wanted = sum([array.nbytes + -array.nbytes % _LINE for array in result.tensors])
        if wanted > capacity or num_bytes > self._max_bytes:
            return False
        if capacity and self._end % capacity + wanted > capacity:
            self._end += -self._end % capacity
        self._make_room(self._end + wanted - capacity, self._max_bytes - num_bytes)
        begin = self._end
        output = None if result.output is None else self._copied(result.output)
        copy = result.with_tensors(output, tuple([self._copied(array) for array in result.states]))
        self.num_bytes += num_bytes
        self._kept.append(_Kept(number, begin, num_bytes))
        self._results.setdefault(number, []).append(copy)
        return True

    def get(self, number: int) -> Sequence[BatchResult]:
        """The results of that number that are still kept. Their tensors are overwritten one day: copy what leaves."""
        return self._results.get(number, ())

    def _make_room(self, begin: int, num_bytes: int) -> None:
        while self._kept and (self._kept[0].begin < begin or self.num_bytes > num_bytes):
            oldest = self._kept.popleft()
            self.num_bytes -= oldest.num_bytes
            results = self._results[oldest.number]
            del results[0]
            if not results:
                del self._results[oldest.number]

    def _copied(self, array: Array) -> Array:
        at = self._end % len(self._memory)
        copy: Array = self._memory[at : at + array.nbytes].view(array.dtype).reshape(array.shape)
        copy[...] = array
        self._end += array.nbytes + -array.nbytes % _LINE
        return copy
