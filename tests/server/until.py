"""Waits for what has no event of its own."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object]) -> None:
    """Returns when it holds."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)
