"""Whose a client is: of one process, and of one event loop in it."""

from __future__ import annotations

import asyncio
import os

from elman._shared.errors import ForkError, LoopError


class LoopAffinity:
    """The process that made it, and the event loop that first used it."""

    def __init__(self) -> None:
        self._process_id = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing left to close: another process's, or of a loop that was closed."""
        return self.is_inherited or (self._loop is not None and self._loop.is_closed())

    @property
    def is_inherited(self) -> bool:
        """Whether this process is a fork of the one that made it."""
        return os.getpid() != self._process_id

    def check_process(self) -> None:
        """Raises ForkError."""
        if self.is_inherited:
            raise ForkError(
                f"this client was made in process {self._process_id}, and {os.getpid()} is a fork of it: a connection "
                "cannot be shared. Make a client in each process, after the fork (in a DataLoader: in `worker_init_fn` "
                "or at the first item)"
            )

    def check(self) -> None:
        """In a coroutine or callback. Raises ForkError, LoopError."""
        self.check_process()
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            where = "has ended" if self._loop.is_closed() else "runs elsewhere"
            raise LoopError(
                f"this AsyncClient belongs to the event loop that first used it, which {where}: make one in each "
                "asyncio.run and thread, or use elman.Client, which any thread may use"
            )
