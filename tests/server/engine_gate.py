"""Holds a server's engine still, so that what arrives meanwhile stands in the queue."""

import asyncio
from typing import Any

from served import Served

from elman_server.door.native.merged_frames import MergedFrame


class EngineGate:
    """While it is closed the engine takes nothing in but what comes to its port, which hands frames over; what is
    handed over is counted."""

    def __init__(self, served: Served) -> None:
        self._engine: Any = served.server.door.engine
        self._arrived = 0
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> "EngineGate":
        self._handed_over = [(name, getattr(self._engine, name)) for name in ("turn", "submit", "post")]
        held = asyncio.Event()
        self._engine.post(lambda: self._hold(held))
        await held.wait()
        for name, method in self._handed_over[1:]:
            setattr(self._engine, name, self._counted(method))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.open()

    def open(self) -> None:
        """Lets the engine go on."""
        for name, method in self._handed_over:
            setattr(self._engine, name, method)
        self._engine._inbox.wake()

    async def arrived(self, count: int) -> None:
        """Returns when so many frames and calls have been handed over."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._arrived >= count)

    def _hold(self, held: asyncio.Event) -> None:
        self._engine.turn = self._turn
        self._loop.call_soon_threadsafe(held.set)

    def _turn(self) -> bool:
        self._engine._port.take()
        self._engine.loop_calls.flush()
        return False

    def _counted(self, function: Any) -> Any:
        def counted(*args: Any, **named: Any) -> None:
            function(*args, **named)
            self._loop.call_soon_threadsafe(self._count_soon, _frames_in(args))

        return counted

    def _count_soon(self, frames: int) -> None:
        task = asyncio.ensure_future(self._count(frames))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _count(self, frames: int) -> None:
        async with self._changed:
            self._arrived += frames
            self._changed.notify_all()


def _frames_in(arguments: tuple[Any, ...]) -> int:
    # Frames of one row that came together are handed over as one.
    frame = arguments[-1]
    return frame.num_rows if isinstance(frame, MergedFrame) else 1
