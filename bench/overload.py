"""Overload: offered load against goodput and latency, up to five times what the server can do."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.bundles import NAME, write_model
from bench.clients import Clients, clients
from bench.effort import Effort
from bench.median import median
from bench.progress import rounds, say
from bench.result import Bar, Figure, Result
from bench.serving import Served, serve
from elman_server.loadgen.load import Load
from elman_server.loadgen.outcome import Outcome, join
from elman_server.loadgen.report.plot import Line, Plot
from elman_server.loadgen.report.table import Table

ROWS = 64
CONNECTIONS = 8
FRAMES_PER_CONNECTION = 8
"""Of distinct sessions, around which a connection goes: enough for batches of any size."""
CLEARLY = 2.0
"""Times the peak goodput, from where on a load fills the connections' windows within a short run."""
MAX_QUEUE_ROWS = 16384
"""The server's default: what is admitted waits behind no more than that."""


@dataclass(frozen=True)
class Point:
    """One load."""

    multiple: float
    outcome: Outcome


def measure(effort: Effort, folder: Path) -> Result:
    """Each side has a core of its own, so that the client's work does not lower what the server can do."""
    cores = sorted(os.sched_getaffinity(0))
    ours, theirs = ({cores[0]}, set(cores[1:])) if len(cores) > 1 else (set(cores), set(cores))
    with serve(write_model(folder, effort), cores=ours) as served, clients(cores=theirs) as own:
        load = frames(effort, served)
        closed = replace(load, in_flight=4)
        capacity = median([own.run(closed, served.probe) for _ in range(effort.rounds)], lambda one: one.goodput)
        reached: list[Outcome] = []
        found: dict[float, list[Outcome]] = {multiple: [] for multiple in effort.multiples}
        for index in rounds("overload", effort.rounds):
            reached.append(own.run(closed, served.probe))
            for multiple in effort.multiples:
                say(f"overload: {multiple:g} times {capacity:,.0f} session-steps/s")
                found[multiple].append(_offer(own, load, served, multiple * capacity, index))
    return _result(join(reached).goodput, [Point(multiple, join(outcomes)) for multiple, outcomes in found.items()])


def frames(effort: Effort, served: Served) -> Load:
    """Frames of many rows over several connections, as fast as they are answered."""
    return Load(
        served.address,
        NAME,
        sessions=ROWS * CONNECTIONS * FRAMES_PER_CONNECTION,
        streams=CONNECTIONS,
        connections=CONNECTIONS,
        rows=ROWS,
        warm_up_seconds=2 * effort.warm_up_seconds,
        seconds=effort.seconds,
    )


def _offer(own: Clients, load: Load, served: Served, rate: float, seed: int) -> Outcome:
    return own.run(replace(load, rate=rate, seed=seed), served.probe)


def _result(reached: float, points: Sequence[Point]) -> Result:
    # Means over the same rounds: the best of many short runs would be the machine's best moment.
    peak = max(reached, *(p.outcome.goodput for p in points))
    last = points[-1]
    full = MAX_QUEUE_ROWS / last.outcome.goodput
    before = next(p for p in points if p is last or p.outcome.offered >= CLEARLY * peak)
    return Result(
        name="overload",
        bars=(
            Bar(f"goodput at {last.multiple:g} times over the peak", last.outcome.goodput / peak, 0.9, at_most=False),
            Bar(
                f"p99 of what is admitted at {last.multiple:g} times over what a full queue takes to run",
                last.outcome.server.frames.quantile(0.99) / full,
                2.0,
                at_most=True,
            ),
            Bar(
                f"p99 of callers at {last.multiple:g} times over that at {before.multiple:g} times: it does not grow",
                last.outcome.latency(99) / before.outcome.latency(99),
                1.5,
                at_most=True,
            ),
        ),
        figures=(
            Figure("closed loop", reached, "session-steps/s"),
            Figure("peak goodput", peak, "session-steps/s"),
            Figure("a full queue takes", full * 1e3, "ms"),
        ),
        tables=(_table(points),),
        plots=_plots(points),
    )


def _table(points: Sequence[Point]) -> Table:
    header = (
        "times",
        "offered/s",
        "goodput/s",
        "admitted p50 ms",
        "admitted p99 ms",
        "callers' p50 ms",
        "callers' p99 ms",
        "refused",
        "unsent",
        "rows per batch",
        "client cores",
    )
    return Table(header, tuple(_row(p) for p in points))


def _row(point: Point) -> tuple[float, ...]:
    outcome = point.outcome
    return (
        point.multiple,
        outcome.offered,
        outcome.goodput,
        outcome.server.frames.quantile(0.5) * 1e3,
        outcome.server.frames.quantile(0.99) * 1e3,
        outcome.latency(50) * 1e3,
        outcome.latency(99) * 1e3,
        float(outcome.refused_frames),
        float(outcome.unsent_frames),
        outcome.server.rows_per_batch,
        outcome.client_cpu_seconds / outcome.seconds,
    )


def _plots(points: Sequence[Point]) -> tuple[Plot, ...]:
    offered = tuple(p.outcome.offered for p in points)
    goodput = Line("goodput", offered, tuple(p.outcome.goodput for p in points))
    admitted = tuple(
        Line(f"admitted, p{p:g}", offered, tuple(one.outcome.server.frames.quantile(p / 100) * 1e3 for one in points))
        for p in (50, 99)
    )
    percentiles = tuple(
        Line(f"callers' p{percent}", offered, tuple(p.outcome.latency(percent) * 1e3 for p in points))
        for percent in (50, 99)
    )
    return (
        Plot("goodput", "session-steps/s offered", "session-steps/s done", (goodput,)),
        Plot("latency_under_load", "session-steps/s offered", "ms", (*admitted, *percentiles), log_y=True),
    )
