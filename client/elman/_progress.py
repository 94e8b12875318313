"""A bar on the terminal or in a notebook while something long runs, by tqdm, which is imported only then."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

from elman._shared.deadline import Deadline
from elman._shared.errors import MissingExtraError
from elman._stepping.answers import Answer, deadline_error
from elman._stepping.chunks import Chunk, PoolChunk
from elman._stepping.options import ModelOptions

Tick = Callable[[int], object]
"""Told of so many more time steps that are done."""
FutureT = TypeVar("FutureT", covariant=True)


class Pending(Protocol[FutureT]):
    """A session's step or a pool's."""

    @property
    def chunks(self) -> Sequence[Chunk | PoolChunk]:
        """What travels, in order."""

    @property
    def futures(self) -> Sequence[FutureT]:
        """Of each of the chunks."""

    @property
    def options(self) -> ModelOptions:
        """What the caller wants."""


ThreadPending = Pending[concurrent.futures.Future[Answer]]
LoopPending = Pending[asyncio.Future[Answer]]
ThreadPendingT = TypeVar("ThreadPendingT", bound=ThreadPending)
LoopPendingT = TypeVar("LoopPendingT", bound=LoopPending)


@contextmanager
def progress_bar(is_wanted: bool, num_steps: int) -> Iterator[Tick]:
    """A bar of so many time steps, if it is wanted. Raises MissingExtraError."""
    if not is_wanted:
        yield lambda steps: None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise MissingExtraError(
            "progress=True needs tqdm, which the extra elman[progress] brings: pip install tqdm"
        ) from None
    with tqdm(total=num_steps, unit="step", unit_scale=True) as bar:
        yield bar.update


def wait_with_bar(pending: ThreadPendingT, submit: Callable[[ThreadPendingT], object]) -> None:
    """Submits, and blocks the thread until all futures are done. Raises DeadlineError, MissingExtraError."""
    timeout_seconds = pending.options.timeout_seconds
    with progress_bar(True, sum(chunk.num_steps for chunk in pending.chunks)) as tick:
        deadline = Deadline.after(timeout_seconds)
        submit(pending)
        for chunk, future in zip(pending.chunks, pending.futures, strict=True):
            try:
                future.result(deadline.left_seconds())
            except TimeoutError:
                raise deadline_error(timeout_seconds) from None
            tick(chunk.num_steps)


async def await_with_bar(pending: LoopPendingT, submit: Callable[[LoopPendingT], object]) -> None:
    """Submits, and returns when all futures are done. Raises DeadlineError, MissingExtraError."""
    timeout_seconds = pending.options.timeout_seconds
    with progress_bar(True, sum(chunk.num_steps for chunk in pending.chunks)) as tick:
        submit(pending)
        try:
            async with asyncio.timeout(timeout_seconds):
                for chunk, future in zip(pending.chunks, pending.futures, strict=True):
                    await future
                    tick(chunk.num_steps)
        except TimeoutError:
            raise deadline_error(timeout_seconds) from None
