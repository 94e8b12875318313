"""Completions: what gRPC has done, told on the event loop's thread, as much at a time as there is."""

import asyncio
import logging
import threading
from typing import Any

from elman_server.rpc.core import core

log = logging.getLogger(__name__)

MAX_AT_ONCE = 1024
"""Completions in a turn of the loop: whatever else waits there has its turn, too."""
NOW = 0.0
"""A deadline that has passed: what is there by now, or nothing."""


class Completions:
    """gRPC's completion queue. Every operation's tag is called with its event.

    A thread of its own waits for the first event after a pause; the loop takes the others, until it finds none. So a
    busy server hands nothing over between threads.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing is told before `start`."""
        self.queue: Any = core.CompletionQueue()
        self._loop = loop
        self._pause = threading.Semaphore(0)  # one more whenever the loop has found nothing
        self._is_over = False
        self._ended: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(target=self._wait, name="completions", daemon=True)

    def start(self) -> None:
        """Begins to tell."""
        self._thread.start()

    async def stop(self) -> None:
        """Returns when all that was begun is told; nothing may be begun any more."""
        self.queue.shutdown()
        await self._ended
        self._thread.join()

    def _wait(self) -> None:
        while not self._is_over:
            event = self.queue.poll()
            try:
                self._loop.call_soon_threadsafe(self._turn, event)
            except RuntimeError:  # the loop was closed, and the server with it
                return
            del event  # it may hold a call, which gRPC waits for when it stops
            self._pause.acquire()

    def _turn(self, event: Any = None) -> None:
        count = 0
        while True:
            if event is None:
                event = self.queue.poll(NOW)
            if event.completion_type == core.CompletionType.queue_timeout:
                break
            self._tell(event)
            event = None
            count += 1
            if self._is_over or count == MAX_AT_ONCE:
                break
        if count and not self._is_over:
            self._loop.call_soon(self._turn)  # after what these have brought about, which likely brought more
        else:
            self._pause.release()

    def _tell(self, event: Any) -> None:
        if event.completion_type == core.CompletionType.queue_shutdown:
            self._is_over = True
            self._ended.set_result(None)
            return
        try:
            event.tag(event)
        except Exception:
            log.exception("a bug in what follows a completion")
