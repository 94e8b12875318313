"""A single session's single step over loopback, against an empty echo."""

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
from elman_server.bench.load import Load
from elman_server.bench.outcome import Outcome
from elman_server.bench.plot import Line, Plot

ECHOES, COMPUTES = 1.5, 2.0
"""What the bar allows: so many echoes and so many computations."""


@dataclass(frozen=True)
class Round:
    """Both servers under the same load."""

    ours: Outcome
    echo: Outcome

    @property
    def ratio(self) -> float:
        """Our p50 over what it may be."""
        return self.ours.latency(50) / (ECHOES * self.echo.latency(50) + COMPUTES * self.ours.server.compute_p50)


def measure(effort: Effort, folder: Path) -> Result:
    """Echo and server in turn."""
    models = write_model(folder, effort)
    sizes = ("--input-size", str(effort.input_size), "--output-size", str(effort.hidden_size))
    with serve(models) as served, serve_module("bench.echo", *sizes) as echo, clients() as own:
        found = [_round(effort, served, echo, own) for _ in rounds("latency", effort.rounds)]
    return Result(
        name="latency",
        bars=(
            Bar(
                "p50 of one step over 1.5 echoes' p50 and 2 computations' p50",
                median(found, lambda r: r.ratio),
                1.0,
                at_most=True,
            ),
        ),
        figures=(
            Figure("p50", median(found, lambda r: r.ours.latency(50) * 1e3), "ms"),
            Figure("p99", median(found, lambda r: r.ours.latency(99) * 1e3), "ms"),
            Figure("echo's p50", median(found, lambda r: r.echo.latency(50) * 1e3), "ms"),
            Figure("echo's p99", median(found, lambda r: r.echo.latency(99) * 1e3), "ms"),
            Figure("elman_compute_seconds p50", median(found, lambda r: r.ours.server.compute_p50 * 1e3), "ms"),
            Figure("elman_compute_seconds mean", median(found, _compute_mean) * 1e3, "ms"),
        ),
        plots=(_plot(found[-1]),),
    )


def _round(effort: Effort, served: Served, echo: Served, own: Clients) -> Round:
    load = Load(served.address, NAME, warm_up_seconds=effort.warm_up_seconds, seconds=effort.seconds)
    echoed = own.run(replace(load, address=echo.address, handles=(1,)), echo.probe)
    return Round(own.run(load, served.probe), echoed)


def _compute_mean(one: Round) -> float:
    return one.ours.server.compute_seconds / max(one.ours.server.launches, 1)


def _plot(one: Round) -> Plot:
    shares = np.linspace(0, 99.9, 200)
    lines = [
        Line(label, tuple((np.percentile(o.latencies, shares) * 1e3).tolist()), tuple((shares / 100).tolist()))
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
