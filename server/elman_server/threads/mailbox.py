"""Mailboxes: functions that one thread leaves for another, which is woken once however many there are."""

import asyncio
import os
import weakref
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from elman_server.threads.isolated import isolated

T = TypeVar("T")


class Wakener:
    """Wakes a thread that waits for a file to be readable. From any thread."""

    def __init__(self) -> None:
        self._file = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self._file)  # not sooner: it may be woken at any time
        self._is_due = False

    def fileno(self) -> int:
        """Readable from `wake` until `rest`."""
        return self._file

    def wake(self) -> None:
        """Makes it readable; asked again before `rest`, costs nothing."""
        if not self._is_due:
            self._is_due = True
            os.eventfd_write(self._file, 1)

    def rest(self) -> None:
        """Makes it unreadable; whatever it was woken for is to be looked at after this."""
        if not self._is_due:
            return
        try:
            os.eventfd_read(self._file)
        except BlockingIOError:  # whoever wakes it is about to: it is read the next time
            return
        self._is_due = False


class Mailbox:
    """Functions for whichever thread takes them."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()
        self._wakener = Wakener()

    def fileno(self) -> int:
        """Readable while there are some."""
        return self._wakener.fileno()

    def post(self, function: Callable[[], object]) -> None:
        """One more. From any thread."""
        self._waiting.append(function)
        self._wakener.wake()

    def call_all(self) -> None:
        """Calls those that there are, in their order."""
        self._wakener.rest()
        for _ in range(len(self._waiting)):
            isolated(self._waiting.popleft(), "what was left for the engine's thread")


class LoopCalls:
    """Functions for the event loop's thread, from the engine's: gathered, and handed over with one wake-up."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()

    def put(self, function: Callable[[], None]) -> None:
        """One more, called in its order once they are handed over."""
        self._waiting.append(function)

    def put_later(self, seconds: float, function: Callable[[], object]) -> None:
        """One more, called so long after they are handed over."""
        self.put(lambda: self._call_later(seconds, function))

    def settle(self, future: "asyncio.Future[T]", result: T | None = None, *, error: Exception | None = None) -> None:
        """A result or an error for whoever awaits the future still."""

        def settle() -> None:
            if future.done():
                return
            if error:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        self.put(settle)

    def _call_later(self, seconds: float, function: Callable[[], object]) -> None:
        self._loop.call_later(seconds, function)

    def flush(self) -> None:
        """Hands over what there is."""
        if self._waiting:
            self._loop.call_soon_threadsafe(self._call_all)

    def _call_all(self) -> None:
        # What is put meanwhile is flushed later, and perhaps called here: then that flush finds nothing.
        for _ in range(len(self._waiting)):
            isolated(self._waiting.popleft(), "what the engine has to say")
