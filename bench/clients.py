"""Clients: processes of their own that send the load, so that they share no lock and no heap with what they measure."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import ParamSpec, TypeVar

from elman_server.loadgen import generator
from elman_server.loadgen.load import Load
from elman_server.loadgen.outcome import Outcome
from elman_server.loadgen.reading import Probe

P = ParamSpec("P")
T = TypeVar("T")

STARTING_SECONDS = 0.1
LONGEST_SECONDS = 60


class Clients:
    """Some client processes."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def run(self, load: Load, probe: Probe = Probe()) -> Outcome:  # noqa: B008 - frozen
        """Sends a load, and awaits its end; for twice as long again where it was over before anything came back, as it
        may be on a busy machine."""
        outcome = self.start(generator.run, load, probe).result()
        while not (outcome.done_frames or outcome.refused_frames) and load.seconds < LONGEST_SECONDS:
            load = replace(load, seconds=2 * load.seconds)
            outcome = self.start(generator.run, load, probe).result()
        return outcome

    def run_beside(self, load: Load, seconds: float) -> "Future[Outcome]":
        """Starts a load in one more process, and returns when it has run for so long."""
        under_way = self.start(generator.run, load)
        time.sleep(seconds)
        return under_way

    def start(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> "Future[T]":
        """Calls a function of a module in a client process."""
        return self._pool.submit(function, *arguments, **named)


@contextmanager
def clients(count: int = 1, cores: set[int] | None = None) -> Iterator[Clients]:
    """That many client processes."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, initializer=_begin, initargs=(cores,)) as pool:
        list(pool.map(time.sleep, [STARTING_SECONDS] * count))  # else the first to be used would start late
        yield Clients(pool)


def _begin(cores: set[int] | None) -> None:
    if cores:
        os.sched_setaffinity(0, cores)
