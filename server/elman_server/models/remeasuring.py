"""Plans that were measured beside traffic are measured again once the server is quiet."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from elman_models.graph.stack import GraphStack
from elman_models.plans.table import PlanTable, PlanTables
from elman_models.stack import Stack
from elman_server.exchange.port import SECONDS_BETWEEN_JOBS, EnginePort
from elman_server.models.runtime import Runtime
from elman_server.models.traffic import Traffic, is_quiet
from elman_server.threads.detached import detached

log = logging.getLogger(__name__)

QUIET_SECONDS = 5.0
"""Of quiet before anything is measured again."""
MAX_ATTEMPTS = 3
"""Measurings of one model that traffic may spoil; then it keeps the plans that it has."""

Plans = PlanTable | PlanTables
Again = Callable[[Stack | GraphStack, Path], Plans]
"""Measures a loaded stack's plans anew, on whatever thread may take seconds."""


@dataclass(frozen=True)
class Pending:
    """A model whose plans are to be measured again."""

    runtime: Runtime
    bundle: Path
    attempts: int = 0


class Remeasuring:
    """One model at a time. What waits is touched by the loop's thread alone, but for whether there is any."""

    def __init__(self, engine: EnginePort, traffic: Traffic, again: Again) -> None:
        """On the loop's thread, before the engine starts."""
        self._engine = engine
        self._traffic = traffic
        self._again = again
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Pending] = deque()
        self._task: asyncio.Task[None] | None = None
        self._quiet_since = self._busy = 0.0
        engine.do_now_and_then(self.look)

    def add(self, runtime: Runtime, bundle: Path) -> None:
        """Has a model's plans measured again, once it is quiet."""
        self._waiting.append(Pending(runtime, bundle))

    def look(self, now: float) -> None:
        """On the engine's thread, now and then; `now` in seconds on its clock."""
        busy, before = self._traffic.busy_seconds(), self._busy
        self._busy = busy
        if not self._quiet_since or not is_quiet(busy - before, SECONDS_BETWEEN_JOBS):
            self._quiet_since = now
        elif self._waiting and now - self._quiet_since >= QUIET_SECONDS:
            self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        if self._task is not None or not self._waiting:
            return
        pending = self._waiting.popleft()
        if not pending.runtime.unloading:
            self._task = self._loop.create_task(self._measure(pending))
            self._task.add_done_callback(self._end)

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()):
            log.warning("plans could not be measured again: %s", error)

    async def _measure(self, pending: Pending) -> None:
        runtime, attempts = pending.runtime, pending.attempts + 1
        spec = runtime.spec
        table = await detached(partial(self._again, runtime.stack, pending.bundle))
        if not table.is_provisional:
            await self._engine.call(partial(_swap, runtime, table))
            log.info("model %s version %s runs by plans that were measured again", spec.name, spec.version)
        elif attempts < MAX_ATTEMPTS:
            self._waiting.append(Pending(runtime, pending.bundle, attempts))
        else:
            log.warning(
                "plans of model %s version %s were measured beside traffic %d times and stay as they are; "
                "`elman-server plans --again` measures them beside no server",
                *(spec.name, spec.version, attempts + 1),
            )


def _swap(runtime: Runtime, table: Plans) -> None:
    # On the engine's thread, between two batches.
    runtime.metrics.watch_plans(table.names)
    runtime.stack.take(table)  # type: ignore[arg-type]  # of the same kind
