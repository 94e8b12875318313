"""Separate callers: one stream and one session each, one step per message. What a session-step costs the server."""

from contextlib import ExitStack
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
class Sides:
    """What is held against each other."""

    kernel: Kernel
    served: Served
    echo: Served
    batching: Served
    own: Clients


@dataclass(frozen=True)
class Round:
    """The servers under the same load, and the kernel at the rows per batch that ours saw."""

    ours: Outcome
    echo: Outcome
    batching: Outcome
    """The echo that batches: what a server of this kind costs on grpc.aio at least."""
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
    def batching_cpu(self) -> float:
        """Processor seconds of the echo that batches, per message."""
        return self.batching.server.cpu_seconds / self.batching.done_steps

    @property
    def ratio(self) -> float:
        """What the bar speaks of."""
        return self.our_cpu / (self.echo_cpu + self.kernel.step_cpu_seconds_per_row)


def measure(effort: Effort, folder: Path) -> Result:
    """Echoes, server and kernel in turn; then rows per batch over the number of callers."""
    models = write_model(folder, effort)
    sizes = ("--input-size", str(effort.input_size), "--output-size", str(effort.hidden_size))
    with ExitStack() as stack:
        served = stack.enter_context(serve(models))
        echo = stack.enter_context(serve_module("bench.echo", *sizes))
        batching = stack.enter_context(serve_module("bench.batching_echo", "--models", str(models)))
        own = stack.enter_context(clients())
        sides = Sides(Kernel(models, effort.sessions), served, echo, batching, own)
        found = [_round(effort, effort.sessions, sides) for _ in rounds("streams", effort.rounds)]
        sweep = []
        for callers in effort.sweep:
            say(f"streams: {callers} callers")
            sweep.append(_round(effort, callers, sides))
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


def _round(effort: Effort, callers: int, sides: Sides) -> Round:
    own, handles = sides.own, tuple(range(callers))
    echoed, batching = (
        own.run(_load(effort, callers, one.address, handles), one.probe) for one in (sides.echo, sides.batching)
    )
    ours = own.run(_load(effort, callers, sides.served.address), sides.served.probe)
    kernel = sides.kernel.run(max(1, round(ours.server.rows_per_batch)), effort.seconds / 2)
    return Round(ours, echoed, batching, kernel)


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
            "an echo that batches and runs the kernel",
            median(found, lambda r: r.batching_cpu * 1e6),
            "us of processor time per message",
        ),
        Figure("server, over the echo that batches", median(found, lambda r: r.our_cpu / r.batching_cpu)),
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
