"""Separate callers: one stream and one session each, one step per message. What a session-step costs the server."""

from dataclasses import dataclass
from pathlib import Path

from bench.bundles import NAME, write_model
from bench.clients import Clients, clients
from bench.effort import Effort
from bench.kernel import Kernel, KernelRun
from bench.median import median
from bench.progress import rounds, say
from bench.result import Bar, Figure, Result
from bench.serving import Served, serve, serve_module
from elman_server.bench.load import Load
from elman_server.bench.outcome import Outcome
from elman_server.bench.plot import Line, Plot
from elman_server.bench.table import Table

LIMIT = 1.25


@dataclass(frozen=True)
class Round:
    """Both servers under the same load, and the kernel at the rows per batch that ours saw."""

    ours: Outcome
    echo: Outcome
    kernel: KernelRun

    @property
    def our_cpu(self) -> float:
        """Processor seconds of the server per session-step."""
        return self.ours.server.cpu_seconds / self.ours.done_steps

    @property
    def echo_cpu(self) -> float:
        """Processor seconds of the echo per message."""
        return self.echo.server.cpu_seconds / self.echo.done_steps

    @property
    def ratio(self) -> float:
        """What the bar speaks of."""
        return self.our_cpu / (self.echo_cpu + self.kernel.step_cpu_seconds_per_row)


def measure(effort: Effort, folder: Path) -> Result:
    """Echo, server and kernel in turn; then rows per batch over the number of callers."""
    models = write_model(folder, effort)
    sizes = ("--input-size", str(effort.input_size), "--output-size", str(effort.hidden_size))
    with serve(models) as served, serve_module("bench.echo", *sizes) as echo, clients() as own:
        kernel = Kernel(models, effort.sessions)
        found = [_round(effort, effort.sessions, kernel, served, echo, own) for _ in rounds("streams", effort.rounds)]
        sweep = []
        for callers in effort.sweep:
            say(f"streams: {callers} callers")
            sweep.append(_round(effort, callers, kernel, served, echo, own))
    return Result(
        name="streams",
        bars=(
            Bar(
                f"processor time per session-step of {effort.sessions} streams, over echo and kernel",
                median(found, lambda r: r.ratio),
                LIMIT,
                at_most=True,
            ),
        ),
        figures=_figures(found),
        tables=(_table(effort, sweep),),
        plots=_plots(effort, sweep),
    )


def _round(effort: Effort, callers: int, kernel: Kernel, served: Served, echo: Served, own: Clients) -> Round:
    echoed = own.run(_load(effort, callers, echo.address, handles=tuple(range(callers))), echo.probe)
    ours = own.run(_load(effort, callers, served.address), served.probe)
    return Round(ours, echoed, kernel.run(max(1, round(ours.server.rows_per_batch)), effort.seconds / 2))


def _load(effort: Effort, callers: int, address: str, handles: tuple[int, ...] | None = None) -> Load:
    return Load(
        address,
        NAME,
        sessions=callers,
        streams=callers,
        handles=handles,
        warm_up_seconds=effort.warm_up_seconds,
        seconds=effort.seconds,
    )


def _figures(found: list[Round]) -> tuple[Figure, ...]:
    return (
        Figure("server", median(found, lambda r: r.our_cpu * 1e6), "us of processor time per session-step"),
        Figure("echo", median(found, lambda r: r.echo_cpu * 1e6), "us of processor time per message"),
        Figure(
            "kernel, the step alone", median(found, lambda r: r.kernel.step_cpu_seconds_per_row * 1e6), "us per row"
        ),
        Figure("kernel with its states", median(found, lambda r: r.kernel.cpu_seconds_per_row * 1e6), "us per row"),
        Figure("rows per batch", median(found, lambda r: r.ours.server.rows_per_batch)),
        Figure("throughput", median(found, lambda r: r.ours.goodput), "session-steps/s"),
        Figure("echo's throughput", median(found, lambda r: r.echo.goodput), "messages/s"),
        Figure("latency p50", median(found, lambda r: r.ours.latency(50) * 1e3), "ms"),
        Figure("latency p99", median(found, lambda r: r.ours.latency(99) * 1e3), "ms"),
        Figure("client's processor", median(found, lambda r: r.ours.client_cpu_seconds / r.ours.seconds), "cores"),
    )


def _table(effort: Effort, sweep: list[Round]) -> Table:
    header = ("callers", "session-steps/s", "rows per batch", "us/step", "echo us", "kernel us", "p50 ms", "p99 ms")
    rows = [
        (
            float(callers),
            r.ours.goodput,
            r.ours.server.rows_per_batch,
            r.our_cpu * 1e6,
            r.echo_cpu * 1e6,
            r.kernel.step_cpu_seconds_per_row * 1e6,
            r.ours.latency(50) * 1e3,
            r.ours.latency(99) * 1e3,
        )
        for callers, r in zip(effort.sweep, sweep, strict=True)
    ]
    return Table(header, tuple(rows))


def _plots(effort: Effort, sweep: list[Round]) -> tuple[Plot, ...]:
    callers = tuple(map(float, effort.sweep))
    per_batch = Line("rows per batch", callers, tuple(r.ours.server.rows_per_batch for r in sweep))
    ours = Line("elman", callers, tuple(r.ours.goodput for r in sweep))
    echo = Line("empty echo", callers, tuple(r.echo.goodput for r in sweep))
    return (
        Plot("rows_per_batch", "streams of one session", "rows per batch", (per_batch,), log_x=True, log_y=True),
        Plot("throughput_of_streams", "streams of one session", "session-steps/s", (ours, echo), log_x=True),
    )
