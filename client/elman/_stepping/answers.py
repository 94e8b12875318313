"""What comes of chunks: answers, their futures, and waiting for these as long as the caller wants and no longer."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from elman._shared.errors import DeadlineError, ElmanError
from elman.wire import Array


class Answer(NamedTuple):
    """What came of a chunk (its rows are its own) or of a pool chunk (its rows are the frame's)."""

    output: Array | None = None  # a record; chunk: [T, *features] or of one step; pool chunk: packed, or [K, *features]
    states: tuple[Array, ...] = ()  # [layers or 1, 1 or K, *features] each
    errors: dict[int, ElmanError] | None = None  # by row


AnswerFuture = asyncio.Future[Answer] | concurrent.futures.Future[Answer]
"""A coroutine or a thread waits on it. Errors are values, so that one that nobody awaits any more warns of nothing."""
FutureT = TypeVar("FutureT", bound=AnswerFuture)


def loop_future() -> asyncio.Future[Answer]:
    """A future for a coroutine of the running loop."""
    return asyncio.get_running_loop().create_future()


def thread_future() -> concurrent.futures.Future[Answer]:
    """A future for a thread to wait on; running from the start, so that it cannot be cancelled under the loop."""
    future: concurrent.futures.Future[Answer] = concurrent.futures.Future()
    future.set_running_or_notify_cancel()
    return future


def resolve(future: AnswerFuture, answer: Answer) -> None:
    """Tells the caller, unless it has gone."""
    if not future.done():
        future.set_result(answer)


async def await_answers(futures: Sequence[asyncio.Future[Answer]], timeout_seconds: float | None) -> None:
    """Returns when all futures are done. Raises DeadlineError."""
    if timeout_seconds is None:
        for future in futures:
            await future
        return
    try:
        async with asyncio.timeout(timeout_seconds):
            for future in futures:
                await future
    except TimeoutError:
        raise deadline_error(timeout_seconds) from None


def wait_answers(futures: Sequence[concurrent.futures.Future[Answer]], timeout_seconds: float | None) -> None:
    """Blocks the thread until all futures are done. Raises DeadlineError."""
    if len(futures) == 1:
        try:
            futures[0].result(timeout_seconds)
        except TimeoutError:
            raise deadline_error(timeout_seconds) from None
    elif concurrent.futures.wait(futures, timeout_seconds).not_done:
        raise deadline_error(timeout_seconds)


def deadline_error(timeout_seconds: float | None) -> DeadlineError:
    """What a caller is told that waits no longer."""
    return DeadlineError(f"no answer within {timeout_seconds or 0:g} s; the step may still be applied")
