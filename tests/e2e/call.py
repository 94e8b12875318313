"""A unary call that is under way."""

import asyncio
from typing import TypeVar

from house import House
from later import Later

T = TypeVar("T")


class Call(Later[T]):
    """Told once its task is done."""

    def __init__(self, house: House, task: "asyncio.Task[T]") -> None:
        super().__init__()
        self._house = house
        self._task = task

    @property
    def is_told(self) -> bool:
        return self._task.done()

    def now(self) -> T:
        return self._house.do(self._task)
