"""Slices: what is done to many sessions is done to a few at a time, so that steps and other calls come between."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from elman_server.exchange.port import EnginePort

I64 = NDArray[np.int64]
T = TypeVar("T")

SLICE = 256
"""Sessions that a turn of the engine opens, closes, lists or ends, at most: a millisecond of it, about."""


def slices_of(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """The items, in their order, a slice at a time."""
    for begin in range(0, len(items), SLICE):
        yield items[begin : begin + SLICE]


def first_slice(count: int) -> int:
    """How many of `count` sessions are one slice's."""
    return min(count, SLICE)


def each_slice(engine: EnginePort, slots: I64, function: Callable[[I64], None], then: Callable[[], None]) -> None:
    """Calls `function` with a slice of `slots` now, with the next one in the engine's next turn, and so on; and then
    `then`. On the engine's thread. Between two slices anything may have become of the other slots."""
    if len(slots):
        function(slots[:SLICE])
    if len(slots) > SLICE:
        engine.post(lambda: each_slice(engine, slots[SLICE:], function, then))
    else:
        then()


class Slices:
    """The way to the engine for slices of calls. On the loop's thread.

    The engine has no more than a slice's sessions of all calls together in hand, and takes the slices in the order in
    which they are asked for. So calls of many slices take turns, and calls on a few sessions share one.
    """

    def __init__(self, engine: EnginePort) -> None:
        self._engine = engine
        self._line = asyncio.Lock()  # whoever has it is the next; waiters get it in their order
        self._has_room = asyncio.Event()
        self._num_asked = 0  # sessions of what the engine has in hand

    async def call(self, size: int, function: Callable[[], T]) -> T:
        """As `Engine.call`, once there is room for a slice of `size` sessions. Who is cancelled while it waits for room
        has not called.

        Raises:
            EngineFailed: the engine serves no more.
        """
        async with self._line:
            while self._num_asked and self._num_asked + size > SLICE:
                self._has_room.clear()
                await self._has_room.wait()
            answer = self._engine.call(function)
            self._num_asked += size
        answer.add_done_callback(lambda _: self._done(size))
        return await asyncio.shield(answer)  # whoever is cancelled leaves its slice in the engine's hands

    def _done(self, size: int) -> None:
        self._num_asked -= size
        self._has_room.set()
