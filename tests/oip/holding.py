"""An engine held still, so that what is sent meanwhile waits together."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from served import Served
from until import until as until

HOLD_SECONDS = 60


@asynccontextmanager
async def held(served: Served) -> AsyncIterator[None]:
    """The engine's thread does nothing until the end of this block."""
    release, begun = threading.Event(), asyncio.Event()
    loop, engine = asyncio.get_running_loop(), served.server.door.engine

    def hold() -> None:
        loop.call_soon_threadsafe(begun.set)
        release.wait(HOLD_SECONDS)

    engine.post(hold)
    await begun.wait()
    try:
        yield
    finally:
        release.set()


async def until_read(served: Served, count: int) -> None:
    """Returns when the server has taken that many requests in."""
    sequences = served.server._open_inference._sequences
    await until(lambda: len(sequences._arrived) >= count)
