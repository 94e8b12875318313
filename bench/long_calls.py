"""Long calls: the worst step of one caller while another opens, lists and closes many sessions, over the worst without.

`python -m bench.long_calls` runs it alone.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np

from bench.bundles import NAME, write_model
from bench.clients import Clients, clients
from bench.effort import Effort
from bench.median import median
from bench.progress import rounds
from bench.result import Bar, Figure, Result
from bench.serving import Served, serve
from elman.v1 import inference_pb2, sessions_pb2, sessions_pb2_grpc
from elman_server.loadgen.connection import Connection
from elman_server.loadgen.frame_bytes import make_frames
from elman_server.loadgen.frame_stream import METHOD
from elman_server.loadgen.generator import run_loop
from elman_server.loadgen.lengths import Lengths

SESSIONS = 60_000
STEPPED = "stepped"
"""The id of the session that is stepped; its caller ends when it is closed."""
CALLS = ("opened", "listed", "closed")
MAX_RATIO = 5.0
"""Of two worst ones, each of some hundred steps: where slices fail it is a hundred."""


class Window(NamedTuple):
    """A stretch of time, in seconds on the machine's monotonic clock."""

    begin: float
    end: float


@dataclass(frozen=True)
class Round:
    """The worst step, in seconds, by what was done to the other sessions; and how long that took."""

    worst: dict[str, float]
    worst_without: dict[str, float]
    """In a quiet stretch right before."""
    seconds: dict[str, float]

    def ratio(self, call: str) -> float:
        """With the call over without it."""
        return self.worst[call] / self.worst_without[call]


def measure(effort: Effort, folder: Path) -> Result:
    """One server; the caller that steps and the one with the long calls are processes of their own."""
    count = min(SESSIONS, effort.idle_sessions)
    with serve(write_model(folder, effort), "--max-sessions", str(2 * SESSIONS)) as served, clients(2) as own:
        found = [_round(effort, served, own, count) for _ in rounds("long calls", effort.rounds)]
    return Result(
        name="long calls",
        bars=tuple(
            Bar(
                f"worst step of another caller while {count:,} sessions are {call}, over the worst without",
                median(found, lambda r, call=call: r.ratio(call)),  # type: ignore[misc]
                MAX_RATIO,
                at_most=True,
            )
            for call in CALLS
        ),
        figures=tuple(figure for call in CALLS for figure in _figures(call, found)),
    )


def _figures(call: str, found: Sequence[Round]) -> tuple[Figure, ...]:
    return (
        Figure(f"{call}: worst step without", median(found, lambda r: r.worst_without[call] * 1e3), "ms"),
        Figure(f"{call}: worst step beside", median(found, lambda r: r.worst[call] * 1e3), "ms"),
        Figure(f"{call}: took", median(found, lambda r: r.seconds[call] * 1e3), "ms"),
    )


def _round(effort: Effort, served: Served, own: Clients, count: int) -> Round:
    stepping = own.start(step_until_closed, served.address)
    quiet, busy = own.start(call_long, served.address, count, effort.warm_up_seconds, effort.seconds).result()
    steps = stepping.result()
    return Round(
        {call: _worst(steps, busy[call]) for call in CALLS},
        {call: _worst(steps, quiet[call]) for call in CALLS},
        {call: busy[call].end - busy[call].begin for call in CALLS},
    )


def _worst(steps: Sequence[Window], within: Window) -> float:
    seconds = [end - begin for begin, end in steps if end > within.begin and begin < within.end]
    if not seconds:
        raise RuntimeError("no step was under way")
    return max(seconds)


def step_until_closed(address: str) -> list[Window]:
    """Steps one session, one step in flight, until another caller closes it. Runs in a client process."""
    return run_loop(_step_until_closed(address))


async def _step_until_closed(address: str) -> list[Window]:
    connection = Connection(address)
    steps: list[Window] = []
    stub = sessions_pb2_grpc.SessionsStub(connection.channel)
    opened = await stub.OpenSessions(sessions_pb2.OpenSessionsRequest(model=NAME, session_ids=[STEPPED]))
    shape = await connection.describe(NAME, "")
    (frame,) = make_frames(opened.handles, 1, Lengths("fixed", 1, 1), shape, np.random.default_rng(0))
    method: grpc.aio.StreamStreamMultiCallable[Any, Any] = connection.channel.stream_stream(
        METHOD, None, inference_pb2.StepResponse.FromString
    )
    call = method()
    await call.read()
    while True:
        begin = time.monotonic()
        await call.write(frame.numbered(len(steps) + 1))
        result: Any = await call.read()
        if not result.finished:  # its session is closed
            break
        steps.append(Window(begin, time.monotonic()))
    await connection.channel.close()
    return steps


def call_long(
    address: str, count: int, warm_up_seconds: float, quiet_seconds: float
) -> tuple[dict[str, Window], dict[str, Window]]:
    """Opens, lists and closes so many sessions, and waits before each; the waits, and the calls. At last it closes the
    session that is stepped. Runs in a client process."""
    return run_loop(_call_long(address, count, warm_up_seconds, quiet_seconds))


async def _call_long(
    address: str, count: int, warm_up_seconds: float, quiet_seconds: float
) -> tuple[dict[str, Window], dict[str, Window]]:
    connection = Connection(address)
    stub = sessions_pb2_grpc.SessionsStub(connection.channel)
    await _until_stepped(stub)
    await asyncio.sleep(warm_up_seconds)
    quiet: dict[str, Window] = {}
    busy: dict[str, Window] = {}

    async def timed(name: str, call: Callable[[], Awaitable[object]]) -> None:
        quiet[name] = await _timed(lambda: asyncio.sleep(quiet_seconds))
        busy[name] = await _timed(call)

    ids = [f"{i:05}" for i in range(count)]
    open_all = sessions_pb2.OpenSessionsRequest(model=NAME, session_ids=ids)
    close_all = sessions_pb2.CloseSessionsRequest(model=NAME, session_ids=ids)
    await timed("opened", lambda: stub.OpenSessions(open_all))
    await timed("listed", lambda: _list(stub))
    await timed("closed", lambda: stub.CloseSessions(close_all))
    await stub.CloseSessions(sessions_pb2.CloseSessionsRequest(model=NAME, session_ids=[STEPPED]))
    await connection.channel.close()
    return quiet, busy


async def _timed(call: Callable[[], Awaitable[object]]) -> Window:
    begin = time.monotonic()
    await call()
    return Window(begin, time.monotonic())


async def _until_stepped(stub: "sessions_pb2_grpc.SessionsAsyncStub") -> None:
    request = sessions_pb2.ListSessionsRequest(model=NAME, page_size=1000)
    while not any(s.session_id == STEPPED and s.position for s in (await stub.ListSessions(request)).sessions):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def _list(stub: "sessions_pb2_grpc.SessionsAsyncStub") -> None:
    request = sessions_pb2.ListSessionsRequest(model=NAME, page_size=1000)
    while True:
        request.page_token = (await stub.ListSessions(request)).next_page_token
        if not request.page_token:
            return


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["--only", "long-calls", *sys.argv[1:]]))
