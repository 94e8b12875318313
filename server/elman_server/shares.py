"""Shares: what of a batch is held for whom, so that no stream's answers cost those of all others their place."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman_server.frames import Frame, Want
from elman_server.pages import Page

I64 = NDArray[np.int64]


class Share(NamedTuple):
    """One stream's part of a batch."""

    rows: list[int]
    """Of the batch, ascending."""
    num_bytes: int
    """Of what was asked for, and of holding it."""


def shares(page: Page, frames: Sequence[Frame]) -> list[Share]:
    """The streams' shares of a page. `frames`: of each row [B], or the one of all. Rows of `Infer` have none: nobody
    can ask for them again."""
    of = list(frames) * (len(page.takes) if len(frames) == 1 else 1)
    num_bytes = page.bytes_asked_for(np.array([frame.want for frame in of]), np.array([f.want_state for f in of]))
    rows: dict[object, list[int]] = {}
    asked = {frame: len(frame.handles) > 0 for frame in frames}
    for row, frame in enumerate(of):
        if asked[frame]:
            rows.setdefault(frame.asker, []).append(row)
    return [Share(mine, page.overhead(len(mine)) + int(num_bytes[mine].sum())) for mine in rows.values()]


def parts(page: Page, frames: Sequence[Frame], rows: Sequence[int]) -> Iterator[Page]:
    """The part of a page that some of its rows have asked for: rows of every step, and rows of less."""
    for of_every_step in (True, False):
        mine = [row for row in rows if (_frame(frames, row).want is Want.ALL) is of_every_step]
        if mine:
            wants = {_frame(frames, row).want for row in mine}
            want = Want.ALL if of_every_step else min(wants)  # the last step's, if anyone wants that
            with_state = any(_frame(frames, row).want_state for row in mine)
            yield page.part(np.array(mine), want, with_state)


def _frame(frames: Sequence[Frame], row: int) -> Frame:
    return frames[row] if len(frames) > 1 else frames[0]
