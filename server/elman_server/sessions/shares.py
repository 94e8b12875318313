"""Shares: what of a batch is held for whom, so that no stream's answers cost those of all others their place."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman_server.exchange.batch_result import BatchResult
from elman_server.exchange.frames import Frame, Want

I64 = NDArray[np.int64]


class Share(NamedTuple):
    """One stream's part of a batch."""

    rows: list[int]
    """Of the batch, ascending."""
    num_bytes: int
    """Of what was asked for, and of holding it, about."""


def largest_share(result: BatchResult, frame: Frame, rows: I64) -> int:
    """Bytes of the largest share of a result whose rows are all of one frame: `rows` [B] of it. The columns of `shares`
    for the most frequent batch by far, single rows of many streams."""
    count = len(rows)
    num_bytes = result.bytes_asked_for(np.full(count, frame.want), np.full(count, frame.want_state))
    num_bytes += result.overhead(1)
    if frame.owners is None:
        return int(num_bytes.sum())
    _, owner = np.unique(frame.owners[rows], return_inverse=True)
    return int(np.bincount(owner, num_bytes).max())


def shares(result: BatchResult, frames: Sequence[Frame], frame_rows: I64) -> list[Share]:
    """The streams' shares of a result. `frames`: of each row [B], or the one of all; `frame_rows`: [B] which row of it
    each is. Rows of `Infer` have none: nobody can ask for them again."""
    of = list(frames) * (len(result.takes) if len(frames) == 1 else 1)
    num_bytes = result.bytes_asked_for(np.array([frame.want for frame in of]), np.array([f.want_state for f in of]))
    rows: dict[object, list[int]] = {}
    asked = {frame: len(frame.handles) > 0 for frame in frames}
    for row, frame in enumerate(of):
        if asked[frame]:
            owners = frame.owners
            rows.setdefault(frame.sink if owners is None else int(owners[frame_rows[row]]), []).append(row)
    return [Share(mine, result.overhead(len(mine)) + int(num_bytes[mine].sum())) for mine in rows.values()]


def parts(result: BatchResult, frames: Sequence[Frame], rows: Sequence[int]) -> Iterator[BatchResult]:
    """The part of a result that some of its rows have asked for: rows of every step, and rows of less."""
    for of_every_step in (True, False):
        mine = [row for row in rows if (_frame(frames, row).want is Want.ALL) is of_every_step]
        if mine:
            wants = {_frame(frames, row).want for row in mine}
            want = Want.ALL if of_every_step else min(wants)  # the last step's, if anyone wants that
            with_state = any(_frame(frames, row).want_state for row in mine)
            yield result.part(np.array(mine), want, with_state)


def _frame(frames: Sequence[Frame], row: int) -> Frame:
    return frames[row] if len(frames) > 1 else frames[0]
