"""The replay buffer: the last chunks' outputs of every session, for callers that ask again."""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman_server.exchange.batch_result import LINE, BatchResult
from elman_server.exchange.frames import Frame
from elman_server.exchange.want import asked_back
from elman_server.sessions.shares import Share, largest_share, parts, shares
from elman_server.tables.jit import jit

I64 = NDArray[np.int64]
Table = NDArray[Any]

REPLAY_ENTRY = np.dtype(
    [
        ("begin", np.int64),
        ("result", np.int64),  # where its last slice lies
        ("length", np.int32),
        ("row", np.int32),
        ("kind", np.int64),
    ]
)


class HeldSlice(NamedTuple):
    """One slice of a chunk's answer: a row of a result."""

    result: BatchResult
    row: int


COMMON_PART = 256
"""What one stream has of a batch is large if it takes more than this part of all bytes."""
LARGEST_PART = 4
"""More than this part of all bytes is not held."""


class ReplayBuffer:
    """Sessions point into rings of results with their last `depth` chunks.

    There are two rings, each with half of the bytes: one for what a stream has of a batch if that is large, one for all
    else. So large answers push out large ones only, and what is too large to be held pushes out none.
    """

    def __init__(self, num_slots: int, depth: int, max_bytes: int) -> None:
        self.next_number = 0
        """Of the batch that is kept next."""
        self._max_common, self._max_share = max_bytes // COMMON_PART, max_bytes // LARGEST_PART
        self._large = ReplayRing(max_bytes // 2)
        self._common = ReplayRing(max_bytes - max_bytes // 2)
        self.table: Table = np.zeros((num_slots, depth), REPLAY_ENTRY)
        self.count = np.zeros(num_slots, np.int64)  # chunks held so far, by slot

    def find(self, slot: int, begin: int, length: int, kind: int) -> list[HeldSlice] | None:
        """The answer of that very chunk, slice by slice, if it is held whole."""
        for one in self.table[slot, : int(self.count[slot])]:
            if one["begin"] == begin and one["length"] == length and one["kind"] == kind:
                return self.slices(int(one["result"]), int(one["row"]))
        return None

    def last(self, slot: int, position: int) -> HeldSlice | None:
        """The last slice of the chunk that brought its session to `position`, if it is held."""
        if not (self.table.shape[1] and self.count[slot]):
            return None
        one = self.table[slot, int(self.count[slot] - 1) % self.table.shape[1]]
        if int(one["begin"]) + int(one["length"]) != position:
            return None
        return self._slice(int(one["result"]), int(one["row"]))

    def share(self, slot: int, slots: I64) -> None:
        """Has `slots`, which go on from where `slot` is, point to what it points to."""
        self.table[slots] = self.table[slot]
        self.count[slots] = self.count[slot]

    def adopt(self, source: "ReplayBuffer", old: int, slot: int) -> None:
        """Has `slot` point to copies of what `old` of another buffer points to, as far as that is held there."""
        depth = source.table.shape[1]
        count = int(source.count[old])
        for place in range(max(0, count - depth), count):  # the oldest first
            one = source.table[old, place % depth]
            slices = source.slices(int(one["result"]), int(one["row"]))
            number = -1 if slices is None else self._put_slices(slices, int(one["kind"]))
            if number >= 0:
                begin, length, kind = (int(one[name]) for name in ("begin", "length", "kind"))
                hold(slot, begin, length, kind, number, 0, self.table, self.count)

    def _put_slices(self, slices: Sequence[HeldSlice], kind: int) -> int:
        # The number of the last slice's result, which has one row; -1 where one of them is too large.
        number = -1
        for result, row in slices:
            part = result.part(np.array([row]), *asked_back(kind))
            part.rows, part.previous_result, part.previous_row = None, np.array([number]), np.zeros(1, np.int64)
            number, self.next_number = self.next_number, self.next_number + 1
            if not self._common.put(number, part, part.num_bytes):
                return -1
        return number

    def slices(self, number: int, row: int) -> list[HeldSlice] | None:
        """The slices of a chunk up to that row of result `number`, in order, or None if one is gone."""
        slices: list[HeldSlice] = []
        while held_slice := self._slice(number, row):
            slices.append(held_slice)
            result, row = held_slice
            number, row = int(result.previous_result[row]), int(result.previous_row[row])
            if number < 0:
                return slices[::-1]
        return None

    @property
    def num_bytes(self) -> int:
        """Of all that is held."""
        return self._common.num_bytes + self._large.num_bytes

    def keep(self, result: BatchResult, frames: Sequence[Frame], rows: I64) -> None:
        """Keeps a batch's result under `next_number`: all of it where that is little, else what was asked for, as far
        as a stream's share goes. `frames`: of each row [B], or the one of all; `rows`: [B] which row of it each is."""
        number = self.next_number
        self.next_number += 1
        num_bytes = result.num_bytes
        if num_bytes <= self._max_common or self._is_of_many(result, num_bytes, frames, rows):
            self._common.put(number, result, num_bytes)
            return
        if len(frames) == 1 and frames[0].owners is None:  # all of it is one stream's
            if num_bytes <= self._max_share:
                self._large.put(number, result, num_bytes)
            return
        common: list[Share] = []
        for share in shares(result, frames, rows):
            if share.num_bytes <= self._max_common:
                common.append(share)
            elif share.num_bytes <= self._max_share:
                self._put(self._large, number, result, frames, share.rows)
        if sum(share.num_bytes for share in common) <= self._max_share:
            self._put(self._common, number, result, frames, sorted(row for share in common for row in share.rows))
            return
        for share in common:
            self._put(self._common, number, result, frames, share.rows)

    def _is_of_many(self, result: BatchResult, num_bytes: int, frames: Sequence[Frame], rows: I64) -> bool:
        # Whether it is little for each of those whose single rows went together.
        if len(frames) > 1 or frames[0].owners is None or num_bytes > self._max_share:
            return False
        return largest_share(result, frames[0], rows) <= self._max_common

    def _put(
        self, ring: "ReplayRing", number: int, result: BatchResult, frames: Sequence[Frame], rows: Sequence[int]
    ) -> None:
        for part in parts(result, frames, rows):
            ring.put(number, part, part.num_bytes)

    def _slice(self, number: int, row: int) -> HeldSlice | None:
        for ring in (self._common, self._large):
            for result in ring.get(number):
                index = result.index_of(row)
                if index is not None:
                    return HeldSlice(result, index)
        return None

    def forget(self, slots: I64) -> None:
        """Lets go of what `slots` point to: they have new owners."""
        self.count[slots] = 0


class _Kept(NamedTuple):
    number: int
    begin: int
    """In all the bytes given out so far."""
    num_bytes: int


class ReplayRing:
    """Numbered results within a limit of bytes, the oldest overwritten first.

    Keeps copies of their tensors, in memory that is given out and taken back in order: the memory that a batch was
    computed in is then free, and warm, for the next one; holding on to the tensors themselves made the kernel half as
    slow again.
    """

    def __init__(self, max_bytes: int) -> None:
        """The system backs the memory as it is first written to. A result's columns lie elsewhere; as many bytes as
        they take stay empty here."""
        self._memory = np.empty(max_bytes // LINE * LINE, np.uint8)
        self._kept: deque[_Kept] = deque()
        self._results: dict[int, list[BatchResult]] = {}  # by number, in the order of `_kept`
        self._end = 0  # bytes given out so far, those skipped at the memory's end included
        self.num_bytes = 0

    def put(self, number: int, result: BatchResult, num_bytes: int) -> bool:
        """Keeps `result`, of `num_bytes`, under that number, and lets the oldest go to make room; whether it fits.
        One that is too large is not kept, and costs no other its place."""
        capacity = len(self._memory)
        if num_bytes > capacity:
            return False
        begin = self._end
        if begin % capacity + num_bytes > capacity:
            begin += -begin % capacity
        self._end = begin + num_bytes
        self._make_room(self._end - capacity)
        self._results.setdefault(number, []).append(self._copied(result, begin % capacity))
        self._kept.append(_Kept(number, begin, num_bytes))
        self.num_bytes += num_bytes
        return True

    def get(self, number: int) -> Sequence[BatchResult]:
        """The results of that number that are still kept. Their tensors are overwritten one day: copy what leaves."""
        return self._results.get(number, ())

    def _make_room(self, begin: int) -> None:
        while self._kept and self._kept[0].begin < begin:
            oldest = self._kept.popleft()
            self.num_bytes -= oldest.num_bytes
            results = self._results[oldest.number]
            del results[0]
            if not results:
                del self._results[oldest.number]

    def _copied(self, result: BatchResult, at: int) -> BatchResult:
        # Its tensors one after the other from there on, each from the beginning of a line.
        copies = []
        for array in (*result.states, result.output):
            if array is not None:
                copies.append(self._memory[at : at + array.nbytes].view(array.dtype).reshape(array.shape))
                copies[-1][...] = array
                at += array.nbytes + -array.nbytes % LINE
        output = None if result.output is None else copies.pop()
        return BatchResult(  # `dataclasses.replace` takes 6 us
            result.starts, result.takes, result.offsets, result.finished, result.positions, output, tuple(copies),
            result.previous_result, result.previous_row, result.is_last, result.outputs, result.rows,
        )  # fmt: skip


@jit
def hold(slot: int, begin: int, length: int, kind: int, result: int, row: int, table: Table, count: I64) -> None:
    """Notes a finished chunk, whose last slice is a row of a result; it takes the place of the slot's oldest."""
    depth = table.shape[1]
    if depth:
        one = table[slot, count[slot] % depth]
        one.begin = begin
        one.length = length
        one.kind = kind
        one.result = result
        one.row = row
        count[slot] += 1
