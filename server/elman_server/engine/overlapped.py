"""The overlapped engine: its bookkeeping goes on while a device computes by itself."""

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from elman_server.engine.engine import Engine
from elman_server.engine.launch import Launch
from elman_server.engine.worker import Worker
from elman_server.threads.clock import Clock

MAX_LAUNCHES = 2
"""One that runs and one that is ready when it ends."""
MIN_ROWS = 32
"""Fewer gather until the one that runs has landed."""


class OverlappedEngine(Engine):
    """For devices that compute by themselves, as CUDA does: the next batch is begun before the last one has landed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        super().__init__(loop, clock)
        self._in_flight = InFlightBatches(completed=self._inbox.wake)

    def turn(self) -> bool:
        """Commits what has landed, and begins one batch more; whether there may be more to do at once."""
        self._take_in()
        landed = self._in_flight.completed()
        if landed:
            self._commit(landed)
            landed.clean_up()
        launch = self._schedule()
        if launch:
            self._in_flight.begin(launch)
        self._answer()  # while the device computes
        self._do_periodic_jobs()
        # Where nothing is under way and work is left, all that came up was late: there may be more.
        return bool(landed or launch) or (self._has_work and not self._in_flight)

    def _main(self) -> None:
        self._in_flight.start()
        super()._main()
        self._in_flight.stop()

    def _next_worker(self) -> Worker | None:
        # None, too, where the next one is better begun later.
        worker = super()._next_worker()
        if worker is None or self._may_begin(worker):
            return worker
        self._workers.rotate(1)  # it is the next one still
        return None

    def _may_begin(self, worker: Worker) -> bool:
        # What waits for a session's chunks to end, a look at its state say, is served before later chunks begin.
        waits = bool(worker.runtime.after) and self._in_flight.last_of(worker) is not None
        return not waits and self._in_flight.has_room(worker.runtime.scheduler.num_ready)

    def _followers(self, launch: Launch) -> list[Launch]:
        return self._in_flight.withdraw(launch.worker)


class _InFlight(NamedTuple):
    launch: Launch
    completed: threading.Event


class InFlightBatches:
    """Launches on an asynchronous device; the computing thread waits for them in the order in which they were begun."""

    def __init__(self, completed: Callable[[], None]) -> None:
        """`completed` is called on the computing thread whenever one has."""
        self.min_rows = MIN_ROWS
        self._landed = completed
        self._under_way: deque[_InFlight] = deque()
        self._ready: queue.SimpleQueue[_InFlight | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._main, name="computing", daemon=True)

    def __len__(self) -> int:
        return len(self._under_way)

    def start(self) -> None:
        """Begins to take launches."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, after what is under way; waits for it."""
        self._ready.put(None)
        self._thread.join()

    def has_room(self, num_ready: int) -> bool:
        """Whether a batch of so many rows is to be begun now.

        While one runs the next one gathers, until it is as large: so it is there when the device is free.
        """
        if not self._under_way:
            return True
        running = len(self._under_way[-1].launch.batch.numbers)
        return len(self._under_way) < MAX_LAUNCHES and num_ready >= max(running, self.min_rows)

    def last_of(self, worker: Worker) -> Launch | None:
        """The latest launch of a worker, if one is under way."""
        return next((one.launch for one in reversed(self._under_way) if one.launch.worker is worker), None)

    def begin(self, launch: Launch) -> None:
        """Begins a launch and hands it over."""
        launch.begin()
        in_flight = _InFlight(launch, threading.Event())
        self._under_way.append(in_flight)
        self._ready.put(in_flight)

    def completed(self) -> Launch | None:
        """The oldest launch, if it has landed, and is so no longer under way."""
        if self._under_way and self._under_way[0].completed.is_set():
            return self._under_way.popleft().launch
        return None

    def withdraw(self, worker: Worker) -> list[Launch]:
        """The launches of a worker that are under way, landed and taken out."""
        recalled = [one for one in self._under_way if one.launch.worker is worker]
        for one in recalled:
            one.completed.wait()
            self._under_way.remove(one)
        return [one.launch for one in recalled]

    def compute(self) -> bool:
        """Waits for the next launch to land, once there is one; False once it was stopped. On the computing thread."""
        in_flight = self._ready.get()
        if in_flight:
            in_flight.launch.land()
            in_flight.completed.set()
            self._landed()
        return in_flight is not None

    def _main(self) -> None:
        while self.compute():
            pass
