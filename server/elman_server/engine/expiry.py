"""Expiry: sessions that nobody has used for long end."""

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray

from elman_server.engine.engine import Engine
from elman_server.exchange.slices import each_slice
from elman_server.models.catalogue import Catalogue
from elman_server.models.runtime import Runtime


class Expiry:
    """On the engine's thread, which looks now and then."""

    def __init__(self, engine: Engine, catalogue: Catalogue) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self._timeout = catalogue.limits.idle_timeout_seconds
        engine.do_now_and_then(self.look)

    def look(self, now: float) -> None:
        """Begins to end those whose time is over; `now` in seconds on the engine's clock."""
        timeout = self._timeout
        if timeout is None:
            return
        for runtime in self._catalogue.runtimes():
            if now >= runtime.next_expiry:
                runtime.next_expiry = math.inf  # until all that are idle have been ended
                idle = runtime.sessions.idle_since(now - timeout, runtime.busy())
                end, then = partial(self._end_idle, runtime, timeout), partial(_plan_expiry, runtime, now, timeout)
                each_slice(self._engine, idle, end, then)

    def _end_idle(self, runtime: Runtime, timeout: float, slots: NDArray[np.int64]) -> None:
        # Those that are idle still.
        are_idle = runtime.sessions.used[slots] <= self._engine.clock.now() - timeout
        self._catalogue.end(runtime, "expired", slots[are_idle & ~runtime.busy(slots)])


def _plan_expiry(runtime: Runtime, now: float, timeout: float) -> None:
    runtime.next_expiry = runtime.sessions.earliest_use(now) + timeout
