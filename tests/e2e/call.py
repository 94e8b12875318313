"""A unary call that is under way."""

import asyncio
from typing import TypeVar

from held_server import HeldServer
from later import Later

T = TypeVar("T")


class Call(Later[T]):
    """Told once its task is done."""

    def __init__(self, held_server: HeldServer, task: "asyncio.Task[T]") -> None:
        super().__init__()
        self._held_server = held_server
        self._task = task

    @property
    def is_told(self) -> bool:
        return self._task.done()

    def now(self) -> T:
        return self._held_server.do(self._task)
