"""Separate callers: one stream and one session each, one step per message. What a session-step costs the server."""

import os
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
from elman_server.loadgen.load import Load
from elman_server.loadgen.outcome import Outcome
from elman_server.loadgen.report.plot import Line, Plot
from elman_server.loadgen.report.table import Table

LIMIT = 1.25
TICK = 1 / os.sysconf("SC_CLK_TCK")
"""Seconds: the least processor time that the system counts."""
MESSAGE_UNIT = "us of processor time per message"


@dataclass(frozen=True)
class Sides:
    """What is held against each other."""

    kernel: Kernel
    served: Served
    echo: Served
    door_echo: Served
    batching: Served
    own: Clients


@dataclass(frozen=True)
class Round:
    """The servers under the same load, and the kernel at the rows per batch that ours saw."""

    ours: Outcome
    echo: Outcome
    door_echo: Outcome
    """On the server's own door, which our server is built on."""
    batching: Outcome
    """The echo that batches: what a server of this kind costs on grpc.aio at least."""
    kernel: KernelRun

    def over(self, echo: Outcome) -> float:
        """Our server's processor time over that of an echo and the kernel; of `echo` it is what the bar speaks of."""
        return _cpu(self.ours) / (_cpu(echo) + self.kernel.step_cpu_seconds_per_row)


def measure(effort: Effort, folder: Path) -> Result:
    """Echoes, server and kernel in turn; then rows per batch over the number of callers."""
    models = write_model(folder, effort)
    sizes = ("--input-size", str(effort.input_size), "--output-size", str(effort.hidden_size))
    with ExitStack() as stack:
        served = stack.enter_context(serve(models))
        echo = stack.enter_context(serve_module("bench.echo", *sizes))
        door_echo = stack.enter_context(serve_module("bench.door_echo", *sizes))
        batching = stack.enter_context(serve_module("bench.batching_echo", "--models", str(models)))
        own = stack.enter_context(clients())
        sides = Sides(Kernel(models, effort.sessions), served, echo, door_echo, batching, own)
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
                median(found, lambda r: r.over(r.echo)),
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
    echo, door_echo, batching = (
        own.run(_load(effort, callers, one.address, handles), one.probe)
        for one in (sides.echo, sides.door_echo, sides.batching)
    )
    ours = own.run(_load(effort, callers, sides.served.address), sides.served.probe)
    kernel = sides.kernel.run(max(1, round(ours.server.rows_per_batch)), effort.seconds / 2)
    return Round(ours, echo, door_echo, batching, kernel)


def _cpu(outcome: Outcome) -> float:
    """Processor seconds of a server per message, which is a session-step of ours."""
    return max(outcome.server.cpu_seconds, TICK) / outcome.done_steps


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
        Figure("server", median(found, lambda r: _cpu(r.ours) * 1e6), "us of processor time per session-step"),
        Figure("echo", median(found, lambda r: _cpu(r.echo) * 1e6), MESSAGE_UNIT),
        Figure("an echo on the server's own door", median(found, lambda r: _cpu(r.door_echo) * 1e6), MESSAGE_UNIT),
        Figure(
            "server, over an echo on the server's own door and kernel", median(found, lambda r: r.over(r.door_echo))
        ),
        Figure(
            "an echo that batches and runs the kernel", median(found, lambda r: _cpu(r.batching) * 1e6), MESSAGE_UNIT
        ),
        Figure("server, over the echo that batches", median(found, lambda r: _cpu(r.ours) / _cpu(r.batching))),
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
    costs = ("us/step", "echo us", "door echo us", "kernel us")
    header = ("callers", "session-steps/s", "rows per batch", *costs, "p50 ms", "p99 ms")
    rows = [
        (
            float(callers),
            r.ours.goodput,
            r.ours.server.rows_per_batch,
            _cpu(r.ours) * 1e6,
            _cpu(r.echo) * 1e6,
            _cpu(r.door_echo) * 1e6,
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
