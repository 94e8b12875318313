"""Waiting for answers, in a coroutine or in a thread, as long as the caller wants and no longer."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Sequence

from elman._shared.errors import DeadlineError
from elman._work import Answer


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
        raise given_up(timeout_seconds) from None


def wait_answers(futures: Sequence[concurrent.futures.Future[Answer]], timeout_seconds: float | None) -> None:
    """Blocks the thread until all futures are done. Raises DeadlineError."""
    if len(futures) == 1:
        try:
            futures[0].result(timeout_seconds)
        except TimeoutError:
            raise given_up(timeout_seconds) from None
    elif concurrent.futures.wait(futures, timeout_seconds).not_done:
        raise given_up(timeout_seconds)


def given_up(timeout_seconds: float | None) -> DeadlineError:
    """What a caller is told that waits no longer."""
    return DeadlineError(f"no answer within {timeout_seconds or 0:g} s; the step may still be applied")
