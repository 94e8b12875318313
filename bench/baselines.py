"""Side by side, in one run and on the same weights: bare torch, onnxruntime, the server people write today, and us."""

from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import torch

from bench.bare_loops import Call, onnx_call, rate, torch_call
from bench.bundles import NAME, write_model
from bench.clients import Clients, clients
from bench.effort import Effort
from bench.median import median
from bench.progress import rounds
from bench.result import Figure, Result
from bench.serving import Served, serve, serve_module
from elman_server.loadgen.load import Load
from elman_server.loadgen.report.plot import Line, Plot
from elman_server.loadgen.report.table import Table


@dataclass(frozen=True)
class Round:
    """Session-steps a second, by what did them."""

    torch_one: float
    torch_all: float
    onnx_one: float
    onnx_all: float
    naive: float
    streams: float
    frames: float


NAMES = {
    "torch_one": "bare torch loop, one session at a time",
    "torch_all": "bare torch loop, all sessions in one call",
    "onnx_one": "onnxruntime, one session at a time",
    "onnx_all": "onnxruntime, all sessions in one call",
    "naive": "minimal gRPC server: dict of states, no batching; a stream per session",
    "streams": "elman, a stream per session",
    "frames": "elman, all sessions in one frame, two in flight",
}


def measure(effort: Effort, folder: Path) -> Result:
    """All in turn, and then the two servers over the number of sessions."""
    models = write_model(folder, effort)
    torch.set_num_threads(1)
    calls = {rows: (torch_call(effort, rows), onnx_call(effort, rows)) for rows in (1, effort.sessions)}
    with serve(models) as served, serve_module("bench.naive", "--models", str(models)) as naive, clients() as own:
        found = [_round(effort, calls, served, naive, own) for _ in rounds("baselines", effort.rounds)]
        plot = _sweep(effort, served, naive, own)
    return Result("baselines", figures=_figures(found), tables=(_table(found),), plots=(plot,))


def _round(effort: Effort, calls: dict[int, tuple[Call, Call]], served: Served, naive: Served, own: Clients) -> Round:
    bare = {rows: [rate(call, rows, effort.seconds / 2) for call in both] for rows, both in calls.items()}
    one, every = bare[1], bare[effort.sessions]
    handles = tuple(range(effort.sessions))
    frames = Load(
        served.address,
        NAME,
        sessions=effort.sessions,
        in_flight=2,
        warm_up_seconds=effort.warm_up_seconds,
        seconds=effort.seconds,
    )
    return Round(
        torch_one=one[0],
        torch_all=every[0],
        onnx_one=one[1],
        onnx_all=every[1],
        naive=_streams(effort, effort.sessions, naive, own, handles),
        streams=_streams(effort, effort.sessions, served, own),
        frames=own.run(frames).goodput,
    )


def _streams(
    effort: Effort, sessions: int, served: Served, own: Clients, handles: tuple[int, ...] | None = None
) -> float:
    load = Load(
        served.address,
        NAME,
        sessions=sessions,
        streams=sessions,
        handles=handles,
        warm_up_seconds=effort.warm_up_seconds,
        seconds=effort.seconds,
    )
    return own.run(load).goodput


def _sweep(effort: Effort, served: Served, naive: Served, own: Clients) -> Plot:
    sessions = tuple(map(float, effort.sweep))
    ours = Line("elman", sessions, tuple(_streams(effort, n, served, own) for n in effort.sweep))
    theirs = Line(
        "no batching", sessions, tuple(_streams(effort, n, naive, own, tuple(range(n))) for n in effort.sweep)
    )
    return Plot("throughput", "sessions, a stream each", "session-steps/s", (ours, theirs), log_x=True)


def _table(found: list[Round]) -> Table:
    header = ("what", "session-steps/s", "elman's streams over it", "elman's frames over it")
    return Table(header, tuple((text, *_medians(found, name)) for name, text in NAMES.items()))


def _medians(found: list[Round], name: str) -> tuple[float, float, float]:
    own = attrgetter(name)
    return (
        median(found, own),
        median(found, lambda r: r.streams / float(own(r))),
        median(found, lambda r: r.frames / float(own(r))),
    )


def _figures(found: list[Round]) -> tuple[Figure, ...]:
    return (
        Figure("elman's streams over the minimal server's", median(found, lambda r: r.streams / r.naive)),
        Figure("elman's frames over the minimal server's streams", median(found, lambda r: r.frames / r.naive)),
    )
