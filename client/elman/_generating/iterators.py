"""What `generate` gives: an iterator, for threads or for coroutines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

from elman._generating.generation import Beam, GenerationCore
from elman._shared.loop_thread import LoopThread


class _Generated:
    """What is known of a generation."""

    def __init__(self, core: GenerationCore) -> None:
        self._core = core

    @property
    def seed(self) -> int:
        """From which it draws."""
        return self._core.seed

    @property
    def log_probs(self) -> list[float]:
        """Of the tokens so far, as the model gave them, before any rule; empty where none are drawn."""
        return self._core.log_probs

    @property
    def finish(self) -> Literal["stop", "length"] | None:
        """Why it has ended: a stop, or after `max_steps`; None: it has not, or otherwise."""
        return self._core.finish

    @property
    def beams(self) -> list[Beam]:
        """With beams all that were kept, the best first, once they have come."""
        return self._core.beams


class Generation(_Generated):
    """The steps of a generation as they come, for threads. Made by `Session.generate`."""

    def __init__(self, core: GenerationCore, thread: LoopThread) -> None:
        super().__init__(core)
        self._thread = thread

    def __iter__(self) -> Iterator[Any]:
        self._core.check_unread()  # before it could close what another one reads
        try:
            while steps := self._thread.run(self._core.steps()):
                for step in steps:
                    yield self._core.note(step)
        finally:
            self._thread.run_or_leave(self._core.close())

    def close(self) -> None:
        """Ends it within a step; its session may be stepped again, and a loop over it elsewhere ends. Raises
        ClosedError.
        """
        self._thread.run(self._core.close())


class AsyncGeneration(_Generated):
    """The steps of a generation as they come, for coroutines. Made by `AsyncSession.generate`."""

    async def __aiter__(self) -> AsyncIterator[Any]:
        self._core.check_unread()  # before it could close what another one reads
        try:
            while steps := await self._core.steps():
                for step in steps:
                    yield self._core.note(step)
        finally:
            await self.close()

    async def close(self) -> None:
        """Ends it within a step; its session may be stepped again, and a loop over it elsewhere ends. Raises
        ClosedError.
        """
        await self._core.close()
