"""The generator: runs a load against a server, and says what came of it."""

import asyncio
import gc
import time
from collections.abc import Coroutine, Sequence
from typing import TypeVar

import numpy as np

from elman_server.loadgen.connection import Connection
from elman_server.loadgen.event_loop import loop_factory
from elman_server.loadgen.frame_bytes import FrameBytes, endless, make_frames
from elman_server.loadgen.frame_stream import FrameStream
from elman_server.loadgen.load import Load
from elman_server.loadgen.loops import closed_loop, open_loop, poisson
from elman_server.loadgen.outcome import Outcome
from elman_server.loadgen.reading import Probe
from elman_server.loadgen.window_counts import WindowCounts, now

T = TypeVar("T")

DRAIN_SECONDS = 30.0
"""Longest time for the last answers."""


def run(load: Load, probe: Probe = Probe()) -> Outcome:  # noqa: B008 - frozen
    """Runs a load in this process.

    Raises:
        grpc.RpcError, ConnectionError, RuntimeError: the server is not there, ended a stream, or opens no sessions.
    """
    return run_loop(run_async(load, probe))


def run_loop(coroutine: Coroutine[object, object, T]) -> T:
    """Runs a client's coroutine on the fastest loop there is; the collector looks at nothing that was there before."""
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(coroutine)


async def run_async(load: Load, probe: Probe) -> Outcome:
    """As `run`, on a loop of the caller's."""
    connections = [Connection(load.address) for _ in range(load.connections)]
    counts = WindowCounts()
    try:
        work = await _prepare(load, connections, counts)
        async with asyncio.timeout(load.warm_up_seconds + load.seconds + DRAIN_SECONDS), asyncio.TaskGroup() as group:
            window = group.create_task(_window(load, counts, probe))
            for index, (stream, frames) in enumerate(work):
                group.create_task(_drive(load, index, stream, frames, counts))
        return window.result()
    finally:
        for connection in connections:
            await connection.close(load.model)


async def _prepare(
    load: Load, connections: Sequence[Connection], counts: WindowCounts
) -> list[tuple[FrameStream, list[FrameBytes]]]:
    shape = await connections[0].describe(load.model, load.version)
    rng = np.random.default_rng(load.seed)
    handles = load.handles or await connections[0].open(load.model, load.version, load.sessions)
    each = load.sessions // load.streams
    work = []
    for index in range(load.streams):
        mine = handles[index * each : (index + 1) * each]
        stream = await connections[index % len(connections)].stream(counts)
        work.append((stream, make_frames(mine, load.rows_per_frame, load.lengths, shape, rng)))
    return work


async def _drive(load: Load, index: int, stream: FrameStream, frames: list[FrameBytes], counts: WindowCounts) -> None:
    around = endless(frames)
    if load.rate is None:
        await closed_loop(stream, around, load.in_flight, counts)
    else:
        arrivals = poisson(load.frames_per_second, now(), np.random.default_rng((load.seed, index)))
        await open_loop(stream, around, arrivals, load.patience_seconds, counts)
    stream.end()


async def _window(load: Load, counts: WindowCounts, probe: Probe) -> Outcome:
    await asyncio.sleep(load.warm_up_seconds)
    before, began, cpu = await asyncio.to_thread(probe.look), now(), time.process_time()
    counts.is_open = True
    await asyncio.sleep(load.seconds)
    counts.is_open, counts.is_over = False, True
    seconds, cpu = now() - began, time.process_time() - cpu
    after = await asyncio.to_thread(probe.look)
    return counts.outcome(seconds, after.reading() - before.reading(), cpu)
