"""Keeps several chunks of a stream in flight and yields their outputs in order."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Generic, Self, TypeVar, cast

import numpy as np

from elman._shared.arrays import ArrayLike
from elman._stepping.answers import Answer, await_answers, wait_answers
from elman._stepping.session_step import PendingStep
from elman.wire import Array

LoopStep = PendingStep[asyncio.Future[Answer]]
ThreadStep = PendingStep[concurrent.futures.Future[Answer]]
StepT = TypeVar("StepT")


def check_chunks(chunks: object, *, may_be_async: bool) -> None:
    """Raises TypeError for what cannot be gone through."""
    is_async = isinstance(chunks, AsyncIterable)
    if not (is_async and may_be_async) and not isinstance(chunks, Iterable) and not hasattr(chunks, "__getitem__"):
        kind = "an iterable or asynchronous iterable" if may_be_async else "an iterable"
        hint = "; elman.AsyncClient's sessions take asynchronous ones" if is_async else ""
        raise TypeError(f"chunks: expected {kind} of chunks, got {chunks!r}{hint}")


async def pipeline(
    chunks: Iterable[ArrayLike] | AsyncIterable[ArrayLike], begin: Callable[[ArrayLike], LoopStep], window: int
) -> AsyncIterator[Array]:
    """For coroutines. An async source is read while outputs are awaited: a chunk that is late delays no output."""
    if isinstance(chunks, AsyncIterable) and not isinstance(chunks, np.ndarray):
        feeder = _Feeder(chunks, begin, window)
        try:
            async for output in feeder.outputs():
                yield output
        finally:
            await feeder.stop()
        return
    begun: deque[LoopStep] = deque()
    source = _Source(chunks, begin)
    for step in source:
        begun.append(step)
        if len(begun) >= window:
            yield await _finish(begun.popleft())
    while begun:
        yield await _finish(begun.popleft())
    source.raise_failure()


def thread_pipeline(
    chunks: Iterable[ArrayLike], begin: Callable[[ArrayLike], ThreadStep], window: int
) -> Iterator[Array]:
    """For threads. Outputs that are ready are yielded before the next chunk is asked for."""
    begun: deque[ThreadStep] = deque()
    source = _Source(chunks, begin)
    for step in source:
        begun.append(step)
        while begun and (len(begun) >= window or all(future.done() for future in begun[0].futures)):
            yield _finish_in_thread(begun.popleft())
    while begun:
        yield _finish_in_thread(begun.popleft())
    source.raise_failure()


class _Source(Generic[StepT]):
    """Begins a step for each chunk; what the chunks' iterable raises is kept until the outputs before it are out."""

    def __init__(self, chunks: Iterable[ArrayLike], begin: Callable[[ArrayLike], StepT]) -> None:
        self._chunks = iter(chunks)
        self._begin = begin
        self._failure: Exception | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StepT:
        try:
            return self._begin(next(self._chunks))
        except StopIteration:
            raise
        except Exception as error:  # noqa: BLE001 - raised by raise_failure
            self._failure = error
            raise StopIteration from None

    def raise_failure(self) -> None:
        """Raises what ended the source, if anything did."""
        if self._failure is not None:
            raise self._failure


class _Feeder:
    """Reads an async source into steps under way, at most `window` of them."""

    def __init__(self, chunks: AsyncIterable[ArrayLike], begin: Callable[[ArrayLike], LoopStep], window: int) -> None:
        self._chunks = chunks
        self._begin = begin
        self._room = asyncio.Semaphore(window)
        self._begun: asyncio.Queue[LoopStep | None] = asyncio.Queue()
        self._task = asyncio.get_running_loop().create_task(self._feed())

    async def outputs(self) -> AsyncIterator[Array]:
        """In order; raises what the source raised after the outputs before it."""
        while (step := await self._begun.get()) is not None:
            yield await _finish(step)
            self._room.release()
        await self._task

    async def stop(self) -> None:
        """Stops reading the source."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _feed(self) -> None:
        try:
            async for chunk in self._chunks:
                await self._room.acquire()
                self._begun.put_nowait(self._begin(chunk))
        finally:
            self._begun.put_nowait(None)


async def _finish(step: LoopStep) -> Array:
    await await_answers(step.futures, step.deadline.left_seconds())
    return cast("Array", step.result())


def _finish_in_thread(step: ThreadStep) -> Array:
    wait_answers(step.futures, step.deadline.left_seconds())
    return cast("Array", step.result())
