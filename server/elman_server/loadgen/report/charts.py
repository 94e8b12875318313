"""The plots of `elman-server bench`."""

from collections.abc import Iterable

import numpy as np

from elman_server.loadgen.report.plot import Line, Plot
from elman_server.loadgen.report.runs import Run, Runs

SHARES = np.linspace(0, 99.9, 200)


def charts(found: Runs) -> list[Plot]:
    """Throughput and rows per batch over sessions, goodput and latency over offered load, latencies as a CDF."""
    closed = [run for run in found.runs if run.load.rate is None]
    opened = [run for run in found.runs if run.load.rate is not None]
    return [*_over_sessions(closed), *_over_offered(opened), _cdf(found.runs)]


def _over_sessions(runs: list[Run]) -> list[Plot]:
    if not runs:
        return []
    sessions = tuple(float(run.load.sessions) for run in runs)
    goodput = Line("goodput", sessions, tuple(run.goodput for run in runs))
    plots = [Plot("throughput", "sessions", "session-steps/s", (goodput,), log_x=True)]
    if any(run.outcome.server.launches for run in runs):
        rows = Line("rows per batch", sessions, tuple(run.outcome.server.rows_per_batch for run in runs))
        plots.append(Plot("rows_per_batch", "sessions", "rows per batch", (rows,), log_x=True, log_y=True))
    return plots


def _over_offered(runs: list[Run]) -> list[Plot]:
    if not runs:
        return []
    lines, latencies = [], []
    for sessions in dict.fromkeys(run.load.sessions for run in runs):
        own = [run for run in runs if run.load.sessions == sessions]
        offered = tuple(run.outcome.offered for run in own)
        lines.append(Line(f"{sessions} sessions", offered, tuple(run.goodput for run in own)))
        for percent in (50, 99):
            times = tuple(run.outcome.latency(percent) * 1e3 for run in own)
            latencies.append(Line(f"{sessions} sessions, p{percent}", offered, times))
    return [
        Plot("goodput", "session-steps/s offered", "session-steps/s done", tuple(lines)),
        Plot("latency_under_load", "session-steps/s offered", "ms", tuple(latencies), log_y=True),
    ]


def _cdf(runs: Iterable[Run]) -> Plot:
    shares = tuple((SHARES / 100).tolist())
    lines = [
        Line(_label(run), tuple((run.outcome.latencies_at(SHARES) * 1e3).tolist()), shares)
        for run in runs
        if len(run.outcome.latencies)
    ]
    return Plot(
        "latency_cdf", "ms from a frame's due time to its last output", "share", tuple(lines), True, markers=False
    )


def _label(run: Run) -> str:
    rate = "" if run.load.rate is None else f", {run.load.rate:,.0f}/s offered"
    return f"{run.load.sessions} sessions{rate}"
