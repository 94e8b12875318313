"""What `elman-server bench` found: a row for each load."""

import statistics
from dataclasses import dataclass

from elman_server.loadgen.load import Load
from elman_server.loadgen.outcome import Outcome
from elman_server.loadgen.report.machine import Machine
from elman_server.loadgen.report.table import Table

HEADER = (
    "sessions",
    "streams",
    "rows/frame",
    "lengths",
    "loop",
    "offered/s",
    "goodput/s",
    "spread",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "refused",
    "unsent",
    "rows/batch",
    "us/step",
)


@dataclass(frozen=True)
class Run:
    """One load, over all seeds."""

    load: Load
    goodputs: tuple[float, ...]
    """Session-steps a second, by seed."""
    outcome: Outcome
    """All seeds together."""

    @property
    def goodput(self) -> float:
        """The median over the seeds."""
        return statistics.median(self.goodputs)

    @property
    def spread(self) -> float:
        """Between the seeds: the largest goodput less the smallest, over the median."""
        return (max(self.goodputs) - min(self.goodputs)) / self.goodput if self.goodput else 0.0


@dataclass(frozen=True)
class Runs:
    """All loads of one command."""

    machine: Machine
    """That sent the loads."""
    runs: tuple[Run, ...]

    def __str__(self) -> str:
        return f"{self.machine}\n{Table(HEADER, tuple(map(_row, self.runs)))}"


def _row(run: Run) -> tuple[float | str, ...]:
    load, outcome = run.load, run.outcome
    cpu = outcome.server.cpu_seconds
    return (
        str(load.sessions),
        str(load.streams),
        str(load.rows_per_frame),
        str(load.lengths),
        "closed" if load.rate is None else "open",
        outcome.offered,
        run.goodput,
        f"{100 * run.spread:.0f}%",
        outcome.latency(50) * 1e3,
        outcome.latency(99) * 1e3,
        outcome.latency(99.9) * 1e3,
        str(outcome.refused_frames),
        str(outcome.unsent_frames),
        outcome.server.rows_per_batch if outcome.server.launches else "-",
        cpu / outcome.done_steps * 1e6 if cpu and outcome.done_steps else "-",
    )
