"""Callers: whom limits count. What each has waiting, running and unread, and when it is read no further."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from elman_server.config import Limits
from elman_server.errors import LimitReached


class Caller:
    """A principal, or a connection where there are no credentials. On the loop's thread.

    It is full at its own limits, and at its share of the queue: an equal part for every caller that has something
    there. So what comes faster than it can be run waits with those who send it, where it costs the server nothing.
    """

    def __init__(self, callers: "Callers") -> None:
        self._callers = callers
        self._waiters: list[Callable[[], None]] = []
        self.rows = 0
        self.num_bytes = 0
        self.streams = 0
        """Streams and calls that count here now."""

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be read from it."""
        return self.rows >= self._callers.max_rows or self.num_bytes >= self._callers.max_bytes

    @property
    def room(self) -> int:
        """How many rows more are to be read from it."""
        return 0 if self.is_full else self._callers.max_rows - self.rows

    def add(self, rows: int, num_bytes: int) -> None:
        """More that waits, runs or lies unread; negative: less."""
        had_rows = self.rows > 0
        self.rows += rows
        self.num_bytes += num_bytes
        if (self.rows > 0) != had_rows:
            self._callers.count_active(1 if self.rows > 0 else -1)
        self.wake()

    def wake(self) -> None:
        """Lets those go on who wait for room, if there is some."""
        if self._waiters and not self.is_full:
            waiters, self._waiters = self._waiters, []
            self._callers.waiting.discard(self)
            for waiter in waiters:
                waiter()

    def when_room(self, function: Callable[[], None]) -> None:
        """Has it called when the caller is not full any more; by then it may be again."""
        self._waiters.append(function)
        self._callers.waiting.add(self)


class Callers:
    """Those who have streams or calls now."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._callers: dict[str, Caller] = {}
        self._num_active = 0  # callers that have rows
        self.waiting: set[Caller] = set()
        """Those whose streams wait for room."""
        self.max_rows = self.max_bytes = 0
        """At which a caller is full."""
        self._share()

    @contextmanager
    def present(self, name: str) -> Iterator[Caller]:
        """The caller of that name, while it has one stream or call more."""
        caller = self._callers.setdefault(name, Caller(self))
        caller.streams += 1
        try:
            yield caller
        finally:
            caller.streams -= 1
            if not caller.streams:
                del self._callers[name]
                self.waiting.discard(caller)

    @contextmanager
    def charged(self, name: str, rows: int, num_bytes: int) -> Iterator[None]:
        """Counts what a call asks for while it runs; unlike a stream it cannot be read later, so it may be refused.

        Raises:
            LimitReached: it is more than the caller may have outstanding.
        """
        limits = self._limits
        with self.present(name) as caller:
            error = LimitReached.first(
                ("max_caller_rows", limits.max_caller_rows, caller.rows, rows),
                ("max_caller_bytes", limits.max_caller_bytes, caller.num_bytes, num_bytes),
            )
            if error:
                raise error
            caller.add(rows, num_bytes)
            try:
                yield
            finally:
                caller.add(-rows, -num_bytes)

    def count_active(self, more: int) -> None:
        """A caller has rows now, or (negative) has none any more, which leaves more for the others."""
        self._num_active += more
        self._share()
        if more < 0:
            for caller in list(self.waiting):
                caller.wake()

    def _share(self) -> None:
        limits, share = self._limits, max(1, self._num_active)
        self.max_rows = min(limits.max_caller_rows, max(1, limits.max_queue_rows // share))
        self.max_bytes = min(limits.max_caller_bytes, max(1, limits.max_queue_bytes // share))
