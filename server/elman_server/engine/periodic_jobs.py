"""Periodic jobs: what the engine does between two batches, now and then, and once nothing waits or runs for a model."""

from collections.abc import Callable
from functools import partial

from elman_server.exchange.port import SECONDS_BETWEEN_JOBS
from elman_server.models.runtime import Runtime
from elman_server.threads.isolated import isolated

PeriodicJob = Callable[[float], None]
"""Called with the time, in seconds on the engine's clock."""


class PeriodicJobs:
    """On the engine's thread; `jobs` is filled before it starts."""

    def __init__(self) -> None:
        self.jobs: list[PeriodicJob] = []
        self.due = 0.0
        """When `run` has something to do at the earliest, in seconds on the engine's clock."""
        self._next = 0.0
        self._when_empty: list[tuple[Runtime, Callable[[], None]]] = []

    def run(self, now: float) -> None:
        """What is due: the jobs whose time has come, `now` in seconds on the engine's clock, and what waited for a
        runtime that is empty now."""
        if self._when_empty:
            self._report_drained()
        if now >= self._next:
            self._next = now + SECONDS_BETWEEN_JOBS
            for job in self.jobs:
                isolated(partial(job, now), "a periodic job")
        self.due = 0.0 if self._when_empty else self._next

    def on_drained(self, runtime: Runtime, function: Callable[[], None]) -> None:
        """Has `function` called by `run` once nothing waits or runs for the runtime."""
        self._when_empty.append((runtime, function))
        self.due = 0.0

    def _report_drained(self) -> None:
        empty = [entry for entry in self._when_empty if not entry[0].queue_rows]
        self._when_empty = [entry for entry in self._when_empty if entry[0].queue_rows]
        for _, function in empty:
            isolated(function, "what waited for a model to be empty")
