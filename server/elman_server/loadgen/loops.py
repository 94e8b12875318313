"""The two ways in which frames arrive: as the ones before are answered, or by a clock of their own."""

import asyncio
from collections.abc import Iterator

import numpy as np

from elman_server.loadgen.frame_bytes import FrameBytes
from elman_server.loadgen.frame_stream import FrameStream
from elman_server.loadgen.window_counts import WindowCounts, now


async def closed_loop(stream: FrameStream, frames: Iterator[FrameBytes], in_flight: int, counts: WindowCounts) -> None:
    """Keeps `in_flight` frames under way until the window is over; returns when all are answered."""
    for _ in range(in_flight):
        await _send(stream, next(frames), counts)
    while not counts.is_over:
        if await stream.receive():
            await _send(stream, next(frames), counts)
    while stream.num_in_flight:
        await stream.receive()


async def open_loop(
    stream: FrameStream,
    frames: Iterator[FrameBytes],
    arrivals: Iterator[float],
    patience_seconds: float,
    counts: WindowCounts,
) -> None:
    """Sends a frame at each of `arrivals`, in seconds of `now`, whatever comes back, until the window is over.

    A frame that cannot be sent within `patience_seconds` of its time, since the connection takes no more, is dropped.
    """
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(_read(stream, counts))
        await _send_by_clock(stream, frames, arrivals, patience_seconds, counts)
        if not stream.num_in_flight:
            reader.cancel()  # and with it the call, whose last answer came


async def _send_by_clock(
    stream: FrameStream,
    frames: Iterator[FrameBytes],
    arrivals: Iterator[float],
    patience_seconds: float,
    counts: WindowCounts,
) -> None:
    for due in arrivals:
        if (ahead := due - now()) > 0:
            await asyncio.sleep(ahead)
        if counts.is_over:
            return
        frame = next(frames)
        counts.offered(frame.steps)
        if now() - due > patience_seconds:
            counts.dropped()
            await asyncio.sleep(0)  # the answers' turn
        else:
            await stream.send(frame, due)


async def _send(stream: FrameStream, frame: FrameBytes, counts: WindowCounts) -> None:
    counts.offered(frame.steps)
    await stream.send(frame, now())


async def _read(stream: FrameStream, counts: WindowCounts) -> None:
    while not counts.is_over or stream.num_in_flight:
        await stream.receive()


def poisson(rate: float, begin: float, rng: np.random.Generator) -> Iterator[float]:
    """Times of a Poisson process of `rate` events a second, from `begin` on."""
    at = begin
    while True:
        for gap in rng.exponential(1 / rate, 1024).tolist():
            at += gap
            yield at
