"""`elman-server bench`: closed-loop and open-loop load on any running server; a table, a JSON file and plots."""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import grpc

from elman_server.call_errors import explain
from elman_server.loadgen.generator import run
from elman_server.loadgen.lengths import Lengths
from elman_server.loadgen.load import Load
from elman_server.loadgen.outcome import join
from elman_server.loadgen.reading import Probe
from elman_server.loadgen.report.as_json import write_json
from elman_server.loadgen.report.charts import charts
from elman_server.loadgen.report.machine import this_machine
from elman_server.loadgen.report.plot import MatplotlibMissing, draw
from elman_server.loadgen.report.runs import Run, Runs


@dataclass(frozen=True)
class NumberedLoad:
    """A load of the command line, which of all it is."""

    number: int
    total: int
    loads: tuple[Load, ...]
    """One of each seed."""


def command(given: argparse.Namespace) -> int:
    """Runs all loads; the exit code: 0 done, 1 failed, 2 asked wrongly."""
    try:
        loads = list(_loads(given))
    except ValueError as error:
        return _fail(str(error), 2)
    try:
        found = Runs(this_machine(), tuple(_run(numbered, Probe(given.metrics, given.pid)) for numbered in loads))
    except (grpc.RpcError, RuntimeError, OSError, ExceptionGroup) as error:
        return _fail(f"{given.address}: {_reason(error)}", 1)
    print(found)  # noqa: T201
    if given.out:
        _write(found, given.out)
    return 0


def _write(found: Runs, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "runs.json", found)
    try:
        draw(charts(found), out)
    except MatplotlibMissing as missing:
        _say(f"elman-server bench: {missing}")


def _loads(given: argparse.Namespace) -> Iterator[NumberedLoad]:
    rates: tuple[float | None, ...] = given.rates or (None,)
    total = len(given.sessions) * len(rates)
    pairs = [(sessions, rate) for sessions in given.sessions for rate in rates]
    for number, (sessions, rate) in enumerate(pairs, 1):
        load = _load(given, sessions, rate)
        yield NumberedLoad(number, total, tuple(replace(load, seed=seed) for seed in range(given.seeds)))


def _load(given: argparse.Namespace, sessions: int, rate: float | None) -> Load:
    return Load(
        address=given.address,
        model=given.model,
        version=given.version,
        sessions=sessions,
        streams=given.streams or sessions,
        connections=given.connections,
        rows=given.rows,
        in_flight=given.in_flight,
        lengths=Lengths.parse(given.lengths),
        rate=rate,
        warm_up_seconds=given.warm_up,
        seconds=given.seconds,
    )


def _run(numbered: NumberedLoad, probe: Probe) -> Run:
    outcomes = []
    for load in numbered.loads:
        progress = f"load {numbered.number} of {numbered.total}, seed {load.seed + 1} of {len(numbered.loads)}"
        _say(f"elman-server bench: {progress}: {load.sessions} sessions")
        outcomes.append(run(load, probe))
    return Run(numbered.loads[0], tuple(o.goodput for o in outcomes), join(outcomes))


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, grpc.aio.AioRpcError):
        return explain(error)
    return str(error) or type(error).__name__


def _fail(message: str, code: int) -> int:
    _say(f"elman-server: {message}")
    return code


def _say(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201
