"""Held answers: the last chunks' outputs of every session, for callers that ask again."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman_server.compiled import compiled
from elman_server.page_ring import PageRing
from elman_server.pages import Page

I64 = NDArray[np.int64]
Table = NDArray[Any]

HELD = np.dtype(
    [
        ("begin", np.int64),
        ("page", np.int64),  # where its last slice lies
        ("length", np.int32),
        ("row", np.int32),
        ("kind", np.int8),
    ]
)


class Piece(NamedTuple):
    """One slice of a chunk's answer: a row of a page."""

    page: Page
    row: int


class Held:
    """Sessions point into one ring of pages with their last `depth` chunks."""

    def __init__(self, num_slots: int, depth: int, max_bytes: int) -> None:
        self.pages = PageRing(max_bytes)
        self.table: Table = np.zeros((num_slots, depth), HELD)
        self.count = np.zeros(num_slots, np.int64)  # chunks held so far, by slot

    def find(self, slot: int, begin: int, length: int, kind: int) -> list[Piece] | None:
        """The answer of that very chunk, slice by slice, if it is held whole."""
        for one in self.table[slot, : int(self.count[slot])]:
            if one["begin"] == begin and one["length"] == length and one["kind"] == kind:
                return self.pieces(int(one["page"]), int(one["row"]))
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
        self.count[slots] = 0


@compiled
def hold(slot: int, begin: int, length: int, kind: int, page: int, row: int, table: Table, count: I64) -> None:
    """Notes a finished chunk, whose last slice is a row of a page; it takes the place of the slot's oldest."""
    depth = table.shape[1]
    if depth:
        one = table[slot, count[slot] % depth]
        one.begin = begin
        one.length = length
        one.kind = kind
        one.page = page
        one.row = row
        count[slot] += 1
