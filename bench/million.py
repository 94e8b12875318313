"""A million idle sessions: opening them, their memory, and what they cost those that are active."""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.bundles import NAME, NUM_LAYERS, write_model
from bench.clients import Clients, clients
from bench.effort import Effort
from bench.median import median
from bench.progress import rounds, say
from bench.result import Bar, Figure, Result
from bench.serving import Served, serve
from elman.v1 import sessions_pb2, sessions_pb2_grpc
from elman_server.loadgen.connection import MAX_IDS, Connection
from elman_server.loadgen.generator import run_loop
from elman_server.loadgen.load import Load


@dataclass(frozen=True)
class Round:
    """Session-steps a second of the active ones, without and with idle ones."""

    without: float
    with_idle: float


@dataclass(frozen=True)
class Opening:
    """The idle sessions' opening."""

    seconds: float
    rss_before: int
    rss_after: int


def measure(effort: Effort, folder: Path) -> Result:
    """Two servers side by side: one holds the idle sessions, the other none."""
    options = ("--max-sessions", str(effort.idle_sessions + 65536), "--idle-timeout-seconds", "none")
    models = write_model(folder, effort)
    with ExitStack() as stack:
        empty, full = (stack.enter_context(serve(models, *options)) for _ in range(2))
        own = stack.enter_context(clients())
        say(f"million: opening {effort.idle_sessions:,} sessions")
        before = full.rss_bytes
        seconds = own.start(open_sessions, full.address, effort.idle_sessions).result()
        opening = Opening(seconds, before, full.rss_bytes)
        found = [_round(effort, empty, full, own) for _ in rounds("million", effort.rounds)]
    return _result(effort, opening, found)


def open_sessions(address: str, count: int) -> float:
    """Opens sessions in the largest batches there may be; seconds. Runs in a client process."""
    return run_loop(_open(address, count))


async def _open(address: str, count: int) -> float:
    connection = Connection(address)
    stub = sessions_pb2_grpc.SessionsStub(connection.channel)
    began = time.perf_counter()
    for begin in range(0, count, MAX_IDS):
        number = min(MAX_IDS, count - begin)
        opened = await stub.OpenSessions(sessions_pb2.OpenSessionsRequest(model=NAME, count=number))
        if opened.errors or len(opened.handles) != number:
            raise RuntimeError(f"{len(opened.errors)} of {number} sessions were not opened")
    seconds = time.perf_counter() - began
    await connection.channel.close()
    return seconds


def _round(effort: Effort, empty: Served, full: Served, own: Clients) -> Round:
    return Round(*(own.run(active(effort, one.address), one.probe).goodput for one in (empty, full)))


def active(effort: Effort, address: str) -> Load:
    """Sessions that step while the others are idle."""
    return Load(
        address,
        NAME,
        sessions=effort.sessions,
        in_flight=2,
        warm_up_seconds=effort.warm_up_seconds,
        seconds=effort.seconds,
    )


def _result(effort: Effort, opening: Opening, found: list[Round]) -> Result:
    count = effort.idle_sessions
    raw = count * 2 * NUM_LAYERS * effort.hidden_size * 4
    return Result(
        name="million",
        bars=(
            Bar(
                f"memory of the whole server with {count:,} sessions over their raw state",
                opening.rss_after / raw,
                1.2,
                True,
            ),
            Bar("sessions opened a second over 50,000", count / opening.seconds / 50_000, 1.0, False),
            Bar(
                f"throughput of {effort.sessions} active sessions beside {count:,} idle ones, over none",
                median(found, lambda r: r.with_idle / r.without),
                0.9,
                at_most=False,
            ),
        ),
        figures=(
            Figure("opened", count / opening.seconds, "sessions/s"),
            Figure("raw state", raw / 1e9, "GB"),
            Figure("memory of the server before", opening.rss_before / 1e9, "GB"),
            Figure("memory of the server after", opening.rss_after / 1e9, "GB"),
            Figure("bytes per session beyond its state", (opening.rss_after - opening.rss_before - raw) / count),
            Figure("active, no idle ones", median(found, lambda r: r.without), "session-steps/s"),
            Figure("active beside idle ones", median(found, lambda r: r.with_idle), "session-steps/s"),
        ),
    )
