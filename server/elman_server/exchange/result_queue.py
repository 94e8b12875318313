"""Results: what an engine step has to say, gathered and told all at once, on the engine's thread."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from elman_server.errors import ServiceError
from elman_server.exchange.answers import Answer, failure, refusal
from elman_server.exchange.batch_result import BatchResult
from elman_server.exchange.frames import Frame
from elman_server.threads.isolated import isolated, log_bug

I64 = NDArray[np.int64]
Failed = dict[Frame, list[tuple[int, ServiceError]]]
"""Rows that failed, by frame."""


class ResultQueue:
    """At most one answer per frame and engine step: rows that failed are told with what else there is of it."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []
        self._failed: Failed = {}

    def answer(self, frame: Frame, answer: Answer) -> None:
        """One frame's answer."""
        self._waiting.append(partial(_tell, frame, answer))

    def refuse(self, frame: Frame, error: ServiceError) -> None:
        """Ends all of a frame that is open."""
        self._failed.pop(frame, None)  # these, too
        self.answer(frame, refusal(error))

    def fail(self, frame: Frame, row: int, error: ServiceError) -> None:
        """A row that failed: told with what else there is to tell of its frame."""
        self._failed.setdefault(frame, []).append((row, error))

    def spread(self, result: BatchResult, frames: Sequence[Frame], rows: I64) -> None:
        """A batch's result: row i of it answers row `rows[i]` of `frames[i]`, or of the one frame that stands for all.
        It is cut when it is told."""
        self._waiting.append(partial(self._spread, result, frames, rows))

    def deliver(self) -> None:
        """Tells all. What those raise who are told something is theirs alone.

        Raises:
            Exception: a bug in cutting an answer, which nobody gets; the others are told all the same.
        """
        waiting, self._waiting = self._waiting, []
        bugs: list[Exception] = []
        for tell in waiting:
            try:
                tell()
            except Exception as error:  # noqa: BLE001 - raised below
                bugs.append(error)
        failed, self._failed = self._failed, {}
        for frame, rows in failed.items():  # those that no other answer has told
            _tell(frame, failure(tuple(rows)))
        if bugs:
            raise bugs[0]

    def _spread(self, result: BatchResult, frames: Sequence[Frame], rows: I64) -> None:
        if len(frames) < len(rows):  # one for all
            self._hand_over(result, frames[0], np.arange(len(rows)), rows)
            return
        mine: dict[Frame, list[int]] = {}
        for i, frame in enumerate(frames):
            mine.setdefault(frame, []).append(i)
        for frame, indices in mine.items():
            self._hand_over(result, frame, np.array(indices), rows[indices])

    def _hand_over(self, result: BatchResult, frame: Frame, mine: I64, rows: I64) -> None:
        answer = result.cut(mine, rows, frame)
        answer.errors = tuple(self._failed.pop(frame, ()))
        _tell(frame, answer)


def _tell(frame: Frame, answer: Answer) -> None:
    try:
        frame.sink.on_result(frame, answer)
    except Exception as error:  # noqa: BLE001 - told, and others go on
        isolated(partial(frame.sink.on_bug, frame, error), "what becomes of a caller whose answer met a bug")
        log_bug("what becomes of an answer")
