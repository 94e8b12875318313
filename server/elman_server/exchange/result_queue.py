"""Results on their way from the engine's thread to the event loop's, with one wake-up per engine step."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from elman_server.errors import ServiceError
from elman_server.exchange.answers import Answer, failure, refusal
from elman_server.exchange.batch_result import BatchResult
from elman_server.exchange.frames import Frame
from elman_server.exchange.isolated import isolated

I64 = NDArray[np.int64]
T = TypeVar("T")
Failed = dict[Frame, list[tuple[int, ServiceError]]]
"""Rows that failed, by frame."""


class ResultQueue:
    """Gathers what an engine step has to say, and says it all at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_bug: Callable[[Exception], None]) -> None:
        """`on_bug` is called on the loop's thread with what cutting an answer raises: nobody gets that answer. What
        those raise who are told something is theirs alone."""
        self._loop = loop
        self._on_bug = on_bug
        self._waiting: list[Callable[[], object]] = []
        self._failed: Failed = {}
        self._num_sent = self._num_told = 0  # flushes, and those that arrived; each counted by one thread

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

    def spread(self, page: BatchResult, frames: Sequence[Frame], rows: I64) -> None:
        """A batch's page: row i of it answers row `rows[i]` of `frames[i]`, or of the one frame that stands for all.
        It is cut on the loop's thread."""
        self._waiting.append(partial(_spread, page, frames, rows, self._failed))

    def call(self, function: Callable[[], None]) -> None:
        """Anything else to do on the loop's thread."""
        self._waiting.append(partial(isolated, function, "what the engine has to say"))

    def settle(self, future: "asyncio.Future[T]", result: T | None = None, *, error: Exception | None = None) -> None:
        """A call's result or error, to whoever awaits it still."""

        def settle() -> None:
            if future.done():
                return
            if error:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        self.call(settle)

    @property
    def is_busy(self) -> bool:
        """Whether something is still to be said."""
        return bool(self._waiting or self._failed) or self._num_sent > self._num_told

    def deliver_all(self) -> None:
        """Says it all now, on the loop's thread."""
        self._run_all(self._taken())

    def flush(self) -> None:
        """Wakes the loop, if there is something to say."""
        if self._waiting or self._failed:
            self._num_sent += 1
            self._loop.call_soon_threadsafe(self._arrive, self._taken())

    def _taken(self) -> Sequence[Callable[[], object]]:
        waiting, self._waiting = self._waiting, []
        failed, self._failed = self._failed, {}  # another one each time: the loop's thread takes from that of its pages
        if failed:
            waiting.append(partial(_tell_failed, failed))  # those that no page's answer has told
        return waiting

    def _arrive(self, functions: Sequence[Callable[[], object]]) -> None:
        self._num_told += 1
        self._run_all(functions)

    def _run_all(self, functions: Sequence[Callable[[], object]]) -> None:
        for function in functions:
            try:
                function()
            except Exception as error:  # noqa: BLE001 - the others are told all the same
                self._on_bug(error)


def _tell(frame: Frame, answer: Answer) -> None:
    isolated(partial(frame.sink.on_result, frame, answer), "what becomes of an answer")


def _tell_failed(failed: Failed) -> None:
    for frame, rows in failed.items():
        _tell(frame, failure(tuple(rows)))


def _spread(page: BatchResult, frames: Sequence[Frame], rows: I64, failed: Failed) -> None:
    if len(frames) < len(rows):  # one for all
        _hand_over(page, frames[0], np.arange(len(rows)), rows, failed)
        return
    mine: dict[Frame, list[int]] = {}
    for i, frame in enumerate(frames):
        mine.setdefault(frame, []).append(i)
    for frame, indices in mine.items():
        _hand_over(page, frame, np.array(indices), rows, failed)


def _hand_over(page: BatchResult, frame: Frame, mine: I64, rows: I64, failed: Failed) -> None:
    answer = page.cut(mine, rows[mine], frame.num_rows, frame.want, frame.want_state)
    answer.errors = tuple(failed.pop(frame, ()))
    _tell(frame, answer)
