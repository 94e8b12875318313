"""Clients of the SDK that step as fast as they are answered: a pool of sessions, and coroutines with a session each.

    python -m bench.sdk_client pool|coroutines ADDRESS MODEL SESSIONS INPUT_SIZE WARM_UP_SECONDS SECONDS

prints session-steps a second. It imports the SDK and no server: each server can be given the SDK of its own commit.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

import elman


@dataclass(frozen=True)
class SdkLoad:
    """Sessions that step without a pause."""

    address: str
    model: str
    sessions: int
    input_size: int
    warm_up_seconds: float
    seconds: float


async def pool(load: SdkLoad) -> float:
    """Session-steps a second of one pool, two steps under way."""
    x = np.random.default_rng(0).standard_normal((load.sessions, load.input_size)).astype(np.float32)
    async with elman.AsyncClient(load.address) as client:
        model = await client.model(load.model)
        async with model.sessions(load.sessions) as sessions:
            steps = await calls_per_second([partial(sessions.step, x)] * 2, load.warm_up_seconds, load.seconds)
    return steps * load.sessions


async def coroutines(load: SdkLoad) -> float:
    """Session-steps a second of coroutines with a session each on one client."""
    x = np.zeros((1, load.input_size), np.float32)
    async with elman.AsyncClient(load.address) as client:
        model = await client.model(load.model)
        sessions = await asyncio.gather(*(model.session() for _ in range(load.sessions)))
        steps = [partial(session.step, x) for session in sessions]
        rate = await calls_per_second(steps, load.warm_up_seconds, load.seconds)
        await asyncio.gather(*(session.close() for session in sessions))
        return rate


async def calls_per_second(
    callers: Sequence[Callable[[], Awaitable[object]]], warm_up_seconds: float, seconds: float
) -> float:
    """Calls a second, all callers at once, each as fast as it is answered, after a warm-up."""
    done = 0
    is_over = False
    has_come = asyncio.Event()

    async def repeat(call: Callable[[], Awaitable[object]]) -> None:
        nonlocal done
        while not is_over:
            await call()
            done += 1
            has_come.set()

    async with asyncio.TaskGroup() as group:
        for call in callers:
            group.create_task(repeat(call))
        await asyncio.sleep(warm_up_seconds)
        before, began = done, time.perf_counter()
        has_come.clear()
        await asyncio.sleep(seconds)
        await has_come.wait()  # on a busy machine
        rate = (done - before) / (time.perf_counter() - began)
        is_over = True
    return rate


def main(arguments: Sequence[str]) -> int:
    """Prints the rate; the exit code."""
    import uvloop  # the benchmarks' own; those who import this file for its loads run them as they like

    kind, address, model, sessions, input_size, warm_up, seconds = arguments
    load = SdkLoad(address, model, int(sessions), int(input_size), float(warm_up), float(seconds))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(runner.run({"pool": pool, "coroutines": coroutines}[kind](load)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
