"""Measuring apart: in a process of its own, of low priority, which ends with the one that asked.

The parent writes one line, what is to be measured, and leaves the pipe open; the child answers with lines of progress
and then the table. Where the pipe ends, so does the child.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from elman_models.bundle import load_any
from elman_models.errors import BundleError
from elman_models.fingerprint import fingerprint
from elman_models.graph.stack import GraphStack
from elman_models.plans.cache import TableRow, entries_of, rows_of
from elman_models.plans.prepare import Measuring
from elman_models.plans.table import Entry, PlanTable, Shape
from elman_models.plans.warm_up import Progress
from elman_models.stack import Stack

NICENESS = 10


class ApartError(Exception):
    """No table came: the process could not be had, or ended before its time."""


class Request(BaseModel):
    """What is to be measured, on the CPU."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundle: Path
    fingerprint: str
    """Of the bundle as it was loaded: another one is not measured."""
    threads: int
    """torch's."""
    budget_seconds: float
    node: str | None = None
    """Of a graph, which recurrence's plans, or WHOLE_GRAPH's."""
    only: str | None = None
    """One plan's name for everything."""


class _Told(BaseModel):
    """A line of the child's: progress, or the table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    done: int = 0
    of: int = 0
    shape: str = ""
    entries: list[TableRow] = []


def measure_apart(request: Request, progress: Progress | None = None) -> dict[Shape, Entry]:
    """The table, from a process of its own. What `progress` raises ends that process.

    Raises:
        ApartError: it could not be begun, or gave none.
    """
    with _child() as process:
        if process.stdin is None or process.stdout is None:
            raise ApartError("the process has no pipes")
        try:
            process.stdin.write(request.model_dump_json() + "\n")
            process.stdin.flush()
        except OSError as error:
            raise ApartError(f"the process that measures ended at once: {error}") from error
        for line in process.stdout:
            told = _read(line)
            if told and told.entries:
                return entries_of(told.entries)
            if told and progress:
                progress(told.done, told.of, told.shape)
    raise ApartError(f"the process that measures ended with code {process.returncode}, and gave no table")


@contextmanager
def _child() -> Iterator["subprocess.Popen[str]"]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", __name__]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    except OSError as error:
        raise ApartError(f"no process could be begun: {error}") from error
    try:
        yield process
    finally:
        if process.stdin:
            with suppress(OSError):  # it has ended before it read all
                process.stdin.close()  # which ends it
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _read(line: str) -> _Told | None:
    try:
        return _Told.model_validate_json(line)
    except ValidationError:
        return None  # something that a library has printed


def main() -> int:
    """The child; the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the parent's to be stopped by the terminal
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    request = Request.model_validate_json(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(request.threads)
    if fingerprint(request.bundle) != request.fingerprint:
        raise BundleError(f"{request.bundle}: was changed since it was loaded")
    loaded = load_any(request.bundle, torch.device("cpu"))
    how = Measuring(progress=lambda done, of, shape: _tell(_Told(done=done, of=of, shape=shape)))
    table = _measured(loaded, request, how)
    _tell(_Told(entries=rows_of(table.entries)))
    return 0


def _measured(loaded: Stack | GraphStack, request: Request, how: Measuring) -> PlanTable:
    budget, only = request.budget_seconds, request.only
    if isinstance(loaded, Stack):
        return loaded.measured(how, budget_seconds=budget, overrides=only)
    return loaded.measured_at(request.node or "", how, budget_seconds=budget, overrides=only)


def _tell(told: _Told) -> None:
    print(told.model_dump_json(), flush=True)  # noqa: T201


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
