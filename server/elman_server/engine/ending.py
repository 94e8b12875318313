"""The end of an engine that met a bug in its own steps: once, and everybody is told."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from elman_server.errors import EngineFailed
from elman_server.threads.isolated import isolated
from elman_server.threads.mailbox import LoopCalls

T = TypeVar("T")
log = logging.getLogger(__name__)

FAILED = (
    "the server's engine met a bug in itself and ends, and with it this server process and its sessions; whether the "
    "steps were applied is not known: open the sessions again"
)
"""What everybody is told then."""


class Ending:
    """Whether the engine has ended so, and who is to be told."""

    def __init__(self) -> None:
        self.failure: EngineFailed | None = None
        """Why it serves no more, once it has ended."""
        self.listeners: list[Callable[[EngineFailed], None]] = []
        """Called on the engine's thread when it ends; filled before it starts."""
        self._calls: set[asyncio.Future[Any]] = set()  # on the loop

    def check(self) -> None:
        """Raises EngineFailed once it has ended. From any thread."""
        if self.failure is not None:
            raise EngineFailed(self.failure.message)

    def expect(self, future: "asyncio.Future[T]") -> "asyncio.Future[T]":
        """Has a future told that is not done by then; the same future. On the loop's thread."""
        self._calls.add(future)
        future.add_done_callback(self._calls.discard)
        return future

    def begin(self, error: Exception) -> bool:
        """Whether it ends here, for that bug; not where it has ended before. On the engine's thread."""
        if self.failure is not None:
            return False
        self.failure = EngineFailed(FAILED)
        log.critical("a bug in the engine's own steps: it ends, and answers all that is open", exc_info=error)
        return True

    def tell(self, loop_calls: LoopCalls) -> None:
        """Tells everybody. On the engine's thread."""
        for listener in self.listeners:
            isolated(partial(listener, EngineFailed(FAILED)), "what follows the engine's end")
        loop_calls.put(self._fail_calls)

    def _fail_calls(self) -> None:
        for future in list(self._calls):
            if not future.done():
                future.set_exception(EngineFailed(FAILED))
