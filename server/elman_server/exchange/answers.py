"""Answers: a batch's outputs on their way back, cut into one part per frame."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_server.errors import ServiceError

I64 = NDArray[np.int64]
Array = NDArray[Any]


@dataclass(slots=True)
class Answer:
    """One frame's part of one engine step."""

    rows: I64 | None
    """[n] rows of the frame; None: all of them, in order."""
    starts: I64 | None
    """[n] the step of its chunk at which each row's part begins; None: 0."""
    lengths: I64
    """[n] steps of each row here, non-increasing."""
    output: Array | None
    """[sum(lengths), *features] packed, the record of the outputs that the frame wants; for LAST
    [finished rows, *features]; for NONE None."""
    finished: I64
    """[f] rows of the frame that are complete with this answer, in the order of `rows`."""
    positions: I64
    """[f] their sessions' positions."""
    states: tuple[Array, ...] = ()
    """[layers or 1, f, *features] of each of the model's states, if asked for."""
    errors: tuple[tuple[int, ServiceError], ...] = ()
    """Rows of the frame that failed."""
    frame_error: ServiceError | None = None
    """Nothing of the frame was admitted."""

    @property
    def num_bytes(self) -> int:
        """Bytes of the tensors."""
        return sum([array.nbytes for array in self.states]) + (0 if self.output is None else self.output.nbytes)

    def copied(self) -> "Answer":
        """With tensors of its own: what a result holds is overwritten one day."""
        output = None if self.output is None else self.output.copy()
        return replace(self, output=output, states=tuple([array.copy() for array in self.states]))

    @property
    def num_ended(self) -> int:
        """Rows that end with this answer."""
        return len(self.finished) + len(self.errors)


_NONE = np.empty(0, np.int64)


def failure(errors: tuple[tuple[int, ServiceError], ...]) -> Answer:
    """An answer of failed rows alone."""
    return Answer(_NONE, None, _NONE, None, _NONE, _NONE, errors=errors)


def refusal(error: ServiceError) -> Answer:
    """The answer to a frame of which nothing was admitted."""
    return Answer(_NONE, None, _NONE, None, _NONE, _NONE, frame_error=error)
