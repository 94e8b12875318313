"""Holds a server's engine still, so that what arrives meanwhile stands in the queue."""

import asyncio
import threading
from typing import Any

from served import Served

from elman_server.door.merged_frames import MergedFrame


class EngineGate:
    """While it is closed the engine does nothing; what is handed to it is counted."""

    def __init__(self, served: Served) -> None:
        self._engine: Any = served.server.door.engine
        self._open = threading.Event()
        self._arrived = 0
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "EngineGate":
        self._handed_over = [(name, getattr(self._engine, name)) for name in ("submit", "post", "soon")]
        held = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._engine.post(lambda: (loop.call_soon_threadsafe(held.set), self._open.wait()))
        await held.wait()
        for name, method in self._handed_over:
            setattr(self._engine, name, self._counted(method))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.open()

    def open(self) -> None:
        """Lets the engine go on."""
        for name, method in self._handed_over:
            setattr(self._engine, name, method)
        self._open.set()

    async def arrived(self, count: int) -> None:
        """Returns when so many frames and calls have been handed over."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._arrived >= count)

    def _counted(self, function: Any) -> Any:
        def counted(*args: Any, **named: Any) -> None:
            function(*args, **named)
            task = asyncio.ensure_future(self._count(_frames_in(args)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return counted

    async def _count(self, frames: int) -> None:
        async with self._changed:
            self._arrived += frames
            self._changed.notify_all()


def _frames_in(arguments: tuple[Any, ...]) -> int:
    # Frames of one row that came together are handed over as one.
    frame = arguments[-1]
    return frame.num_rows if isinstance(frame, MergedFrame) else 1
