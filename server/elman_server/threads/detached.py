"""Work that the process's end does not wait for: reading weights, measuring, compiling."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

THREAD_NAME = "detached"


async def detached(function: Callable[[], T]) -> T:
    """What `function` gives, or its exception, from a daemon thread of its own. Cancelled, it is left behind: threads
    of asyncio's own pool are waited for at the end, and what runs here may take its time."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if future.done():
            return
        if error:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: T | None = None
        failure: Exception | None = None
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - it is told to whoever awaits
            failure = error
        with suppress(RuntimeError):  # the loop is closed: nobody awaits any more
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name=THREAD_NAME, daemon=True).start()
    return await future


def are_left() -> bool:
    """Whether some of it still runs."""
    return any(thread.name == THREAD_NAME for thread in threading.enumerate())
