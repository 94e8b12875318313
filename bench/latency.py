"""A single session's single step over loopback, against an empty echo."""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.bundles import NAME, write_model
from bench.clients import Clients, clients
from bench.effort import Effort
from bench.median import median
from bench.progress import rounds
from bench.result import Bar, Figure, Result
from bench.serving import Served, serve, serve_module
from elman_server.loadgen.load import Load
from elman_server.loadgen.outcome import Outcome
from elman_server.loadgen.report.plot import Line, Plot

ECHOES, COMPUTES = 1.5, 2.0
"""What the bar allows: so many echoes and so many computations."""


@dataclass(frozen=True)
class Sides:
    """What is held against each other."""

    served: Served
    echo: Served
    door_echo: Served
    own: Clients


@dataclass(frozen=True)
class Round:
    """All servers under the same load."""

    ours: Outcome
    echo: Outcome
    door_echo: Outcome
    """On the server's own door, which our server is built on."""

    def over(self, echo: Outcome) -> float:
        """Our p50 over what it may be beside an echo's; of `echo` it is what the bar speaks of."""
        return self.ours.latency(50) / (ECHOES * echo.latency(50) + COMPUTES * self.ours.server.compute_p50)


def measure(effort: Effort, folder: Path) -> Result:
    """Echoes and server in turn."""
    models = write_model(folder, effort)
    sizes = ("--input-size", str(effort.input_size), "--output-size", str(effort.hidden_size))
    with ExitStack() as stack:
        served = stack.enter_context(serve(models))
        echo = stack.enter_context(serve_module("bench.echo", *sizes))
        door_echo = stack.enter_context(serve_module("bench.door_echo", *sizes))
        sides = Sides(served, echo, door_echo, stack.enter_context(clients()))
        found = [_round(effort, sides) for _ in rounds("latency", effort.rounds)]
    return Result(
        name="latency",
        bars=(
            Bar(
                "p50 of one step over 1.5 echoes' p50 and 2 computations' p50",
                median(found, lambda r: r.over(r.echo)),
                1.0,
                at_most=True,
            ),
        ),
        figures=_figures(found),
        plots=(_plot(found[-1]),),
    )


def _round(effort: Effort, sides: Sides) -> Round:
    load = Load(sides.served.address, NAME, warm_up_seconds=effort.warm_up_seconds, seconds=effort.seconds)
    echo, door_echo = (
        sides.own.run(replace(load, address=one.address, handles=(1,)), one.probe)
        for one in (sides.echo, sides.door_echo)
    )
    return Round(sides.own.run(load, sides.served.probe), echo, door_echo)


def _figures(found: list[Round]) -> tuple[Figure, ...]:
    return (
        Figure("p50", median(found, lambda r: r.ours.latency(50) * 1e3), "ms"),
        Figure("p99", median(found, lambda r: r.ours.latency(99) * 1e3), "ms"),
        Figure("echo's p50", median(found, lambda r: r.echo.latency(50) * 1e3), "ms"),
        Figure("echo's p99", median(found, lambda r: r.echo.latency(99) * 1e3), "ms"),
        Figure("p50 of an echo on the server's own door", median(found, lambda r: r.door_echo.latency(50) * 1e3), "ms"),
        Figure("p99 of an echo on the server's own door", median(found, lambda r: r.door_echo.latency(99) * 1e3), "ms"),
        Figure(
            "p50 of one step over 1.5 p50 of an echo on the server's own door and 2 computations' p50",
            median(found, lambda r: r.over(r.door_echo)),
        ),
        Figure("elman_compute_seconds p50", median(found, lambda r: r.ours.server.compute_p50 * 1e3), "ms"),
        Figure("elman_compute_seconds mean", median(found, _compute_mean) * 1e3, "ms"),
    )


def _compute_mean(one: Round) -> float:
    return one.ours.server.compute_seconds / max(one.ours.server.launches, 1)


def _plot(one: Round) -> Plot:
    shares = np.linspace(0, 99.9, 200)
    lines = [
        Line(label, tuple((o.latencies_at(shares) * 1e3).tolist()), tuple((shares / 100).tolist()))
        for label, o in (("elman", one.ours), ("empty echo", one.echo))
    ]
    return Plot(
        "latency_cdf",
        "ms from sending one step to its output",
        "share of steps",
        tuple(lines),
        log_x=True,
        markers=False,
    )
