"""An engine held still, so that what is sent meanwhile waits together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from engine_gate import EngineGate
from served import Served
from until import until as until


@asynccontextmanager
async def held(served: Served) -> AsyncIterator[None]:
    """The engine does nothing but hand over what comes, until the end of this block."""
    async with EngineGate(served):
        yield


async def until_read(served: Served, count: int) -> None:
    """Returns when the server has taken that many requests in."""
    sequences = served.server._open_inference._sequences
    await until(lambda: len(sequences._arrived) >= count)
