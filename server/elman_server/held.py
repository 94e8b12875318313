"""Held answers: the last chunks' outputs of every session, for callers that ask again."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman_server.page_ring import PageRing
from elman_server.pages import Page

I64 = NDArray[np.int64]


class Piece(NamedTuple):
    """One slice of a chunk's answer: a row of a page."""

    page: Page
    row: int


class Held:
    """Sessions point into one ring of pages with their last `depth` chunks."""

    def __init__(self, num_slots: int, depth: int, max_bytes: int) -> None:
        self.pages = PageRing(max_bytes)
        self._depth = depth
        self._count = np.zeros(num_slots, np.int64)  # chunks held so far, by slot
        self._begin = np.zeros((num_slots, depth), np.int64)
        self._length = np.zeros((num_slots, depth), np.int32)
        self._kind = np.zeros((num_slots, depth), np.int8)
        self._page = np.zeros((num_slots, depth), np.int64)
        self._row = np.zeros((num_slots, depth), np.int32)

    def hold(self, slots: I64, begins: I64, lengths: I64, kinds: I64, page: int, rows: I64) -> None:
        """Notes finished chunks, of distinct slots, whose last slices are `rows` of a page."""
        if not self._depth:
            return
        at = self._count[slots] % self._depth
        self._begin[slots, at] = begins
        self._length[slots, at] = lengths
        self._kind[slots, at] = kinds
        self._page[slots, at] = page
        self._row[slots, at] = rows
        self._count[slots] += 1

    def find(self, slot: int, begin: int, length: int, kind: int) -> list[Piece] | None:
        """The answer of that very chunk, slice by slice, if it is held whole."""
        for k in range(min(int(self._count[slot]), self._depth)):
            same = self._begin[slot, k] == begin and self._length[slot, k] == length and self._kind[slot, k] == kind
            if same:
                return self.pieces(int(self._page[slot, k]), int(self._row[slot, k]))
        return None

    def pieces(self, number: int, row: int) -> list[Piece] | None:
        """The slices of a chunk up to that row of page `number`, in order, or None if one is gone."""
        pieces: list[Piece] = []
        while page := self.pages.get(number):
            pieces.append(Piece(page, row))
            number, row = int(page.previous_page[row]), int(page.previous_row[row])
            if number < 0:
                return pieces[::-1]
        return None

    def forget(self, slots: I64) -> None:
        """Lets go of what `slots` point to: they have new owners."""
        self._count[slots] = 0
