"""An engine held still, so that what is sent meanwhile waits together."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from served import Served

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


async def until(condition: Callable[[], object]) -> None:
    """Returns when it holds; what is awaited has no event of its own."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)
