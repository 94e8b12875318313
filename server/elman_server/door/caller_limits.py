"""Callers: whom limits count. What each has waiting, running and unread, and when it is read no further."""

from collections.abc import Callable

from elman_server.config.server_config import Limits
from elman_server.door.waiting import Waiting
from elman_server.errors import LimitReached


class Caller:
    """A principal, or a connection where there are no credentials. On the engine's thread.

    It is full at its own limits, and at its share of the queue: an equal part for every caller that has something
    there. So what comes faster than it can be run waits with those who send it, where it costs the server nothing.
    """

    def __init__(self, name: str, callers: "Callers") -> None:
        self.name = name
        self._callers = callers
        self._waiters: list[Callable[[], None]] = []
        self.rows = 0
        self.num_bytes = 0
        self.streams = 0
        """Streams that count here now."""

    @property
    def is_gone(self) -> bool:
        """Whether it has no stream, and nothing of what it has asked is left."""
        return not (self.streams or self.rows or self.num_bytes)

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
        if self._waiters:
            self.wake()
        if not self.streams and self.is_gone:
            self._callers.forget(self)

    def wake(self) -> None:
        """Lets those go on who wait for room, if there is some."""
        if self._waiters and not self.is_full:
            waiters, self._waiters = self._waiters, []
            self._callers.waiting.discard(self)
            for waiter in waiters:
                waiter()
        elif self._waiters and self.streams:
            self._callers.waiting.add(self, self._callers.max_rows)  # with what it has by now

    def when_room(self, function: Callable[[], None]) -> None:
        """Has it called when the caller is not full any more; by then it may be again."""
        self._waiters.append(function)
        self._callers.waiting.add(self, self._callers.max_rows)


class Charge:
    """What one call counts against its caller, until its rows have ended."""

    def __init__(self, caller: Caller, rows: int, num_bytes: int) -> None:
        self._caller = caller
        self._rows, self._num_bytes = rows, num_bytes
        caller.add(rows, num_bytes)

    def release(self) -> None:
        """Counts no more; asked again, does nothing."""
        rows, num_bytes, self._rows, self._num_bytes = self._rows, self._num_bytes, 0, 0
        self._caller.add(-rows, -num_bytes)


class Callers:
    """Those who have streams or calls now, or had some whose rows have not ended: who comes back meets them again."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._callers: dict[str, Caller] = {}
        self._num_active = 0  # callers that have rows
        self.waiting = Waiting()
        """Those whose streams wait for room."""
        self.on_gone: Callable[[Caller], None] | None = None
        """Called with each caller that is gone."""
        self.max_rows = self.max_bytes = 0
        """At which a caller is full."""
        self._num_sharing = 0  # callers that those are an equal part for
        self._share()

    def enter(self, name: str) -> Caller:
        """The caller of that name, which has one stream more; `leave` is to follow."""
        caller = self._callers.setdefault(name, Caller(name, self))
        caller.streams += 1
        return caller

    def leave(self, caller: Caller) -> None:
        """It has one stream less."""
        caller.streams -= 1
        if not caller.streams:
            self.waiting.discard(caller)
        if caller.is_gone:
            self.forget(caller)

    def charge(self, name: str, rows: int, num_bytes: int) -> Charge:
        """Counts what a call asks for; unlike a stream it cannot be read later, so it may be refused.

        Raises:
            LimitReached: it is more than the caller may have outstanding.
        """
        limits, known = self._limits, self._callers.get(name)
        error = LimitReached.first(
            ("max_caller_rows", limits.max_caller_rows, known.rows if known else 0, rows),
            ("max_caller_bytes", limits.max_caller_bytes, known.num_bytes if known else 0, num_bytes),
        )
        if error:
            raise error
        return Charge(self._callers.setdefault(name, Caller(name, self)), rows, num_bytes)

    def forget(self, caller: Caller) -> None:
        """Lets go of a caller that is gone."""
        if self._callers.get(caller.name) is caller:
            del self._callers[caller.name]
            if self.on_gone:
                self.on_gone(caller)

    def count_active(self, more: int) -> None:
        """A caller has rows now, or (negative) has none any more, which leaves more for the others."""
        self._num_active += more
        self._share()
        if more < 0 and self.waiting:
            for caller in self.waiting.take_ready(self.max_rows, self.max_bytes):
                caller.wake()

    def _share(self) -> None:
        limits, share = self._limits, max(1, self._num_active)
        if share == self._num_sharing:
            return
        self._num_sharing = share
        self.max_rows = min(limits.max_caller_rows, max(1, limits.max_queue_rows // share))
        self.max_bytes = min(limits.max_caller_bytes, max(1, limits.max_queue_bytes // share))
