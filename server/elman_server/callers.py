"""Callers: whom limits count. What each has waiting, running and unread."""

import asyncio

from elman_server.config import Limits


class Caller:
    """A principal, or a connection where there are no credentials. On the loop's thread."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiters: list[asyncio.Future[None]] = []
        self.rows = 0
        self.num_bytes = 0
        self.streams = 0
        """Streams and calls that count here now."""

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be read from it."""
        return self.rows >= self._limits.max_caller_rows or self.num_bytes >= self._limits.max_caller_bytes

    def add(self, rows: int, num_bytes: int) -> None:
        """More that waits, runs or lies unread; negative: less."""
        self.rows += rows
        self.num_bytes += num_bytes
        if self._waiters and not self.is_full:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def room(self) -> None:
        """Returns when it is not full."""
        while self.is_full:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter


class Callers:
    """Those who have streams or calls now."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._callers: dict[str, Caller] = {}

    def enter(self, name: str) -> Caller:
        """The caller of that name, with one stream or call more."""
        caller = self._callers.setdefault(name, Caller(self._limits))
        caller.streams += 1
        return caller

    def leave(self, name: str) -> None:
        """One stream or call less."""
        caller = self._callers[name]
        caller.streams -= 1
        if not caller.streams:
            del self._callers[name]
