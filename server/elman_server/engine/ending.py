"""The end of an engine that met a bug in its own steps: once, and everybody is told."""

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from elman_server.errors import EngineFailed
from elman_server.exchange.isolated import isolated

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
        """Called on the loop's thread when it ends; filled before it starts."""
        self._lock = threading.Lock()
        self._calls: set[asyncio.Future[Any]] = set()  # on the loop

    def check(self) -> None:
        """Raises EngineFailed once it has ended. From any thread."""
        if self.failure is not None:
            raise EngineFailed(self.failure.message)

    def expect(self, future: "asyncio.Future[Any]") -> None:
        """Has a future told that is not done by then."""
        self._calls.add(future)
        future.add_done_callback(self._calls.discard)

    def begin(self, error: Exception) -> bool:
        """Whether it ends here, for that bug; not where it has ended before. From any thread."""
        with self._lock:
            if self.failure is not None:
                return False
            self.failure = EngineFailed(FAILED)
        log.critical("a bug in the engine's own steps: it ends, and answers all that is open", exc_info=error)
        return True

    def tell(self) -> None:
        """Tells everybody. On the loop's thread."""
        for future in list(self._calls):
            if not future.done():
                future.set_exception(EngineFailed(FAILED))
        for listener in self.listeners:
            isolated(partial(listener, EngineFailed(FAILED)), "what follows the engine's end")
