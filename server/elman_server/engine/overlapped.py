"""Batches in flight beside the engine's thread, so that its bookkeeping overlaps with computing: for devices that
compute by themselves."""

import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from elman_server.engine.launch import Launch
from elman_server.engine.worker import Worker

MAX_LAUNCHES = 2
"""One that runs and one that is ready when it ends."""
MIN_ROWS = 32
"""Fewer gather until the one that runs has landed."""


class _Flying(NamedTuple):
    launch: Launch
    completed: threading.Event


class InFlightBatches:
    """Launches on an asynchronous device; the computing thread waits for them in the order in which they were begun."""

    def __init__(self, completed: Callable[[], None]) -> None:
        """`completed` is called on the computing thread whenever one has."""
        self.min_rows = MIN_ROWS
        self._landed = completed
        self._under_way: deque[_Flying] = deque()
        self._ready: queue.SimpleQueue[_Flying | None] = queue.SimpleQueue()
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
        return next((flying.launch for flying in reversed(self._under_way) if flying.launch.worker is worker), None)

    def begin(self, launch: Launch) -> None:
        """Begins a launch and hands it over."""
        launch.read()
        launch.begin()
        flying = _Flying(launch, threading.Event())
        self._under_way.append(flying)
        self._ready.put(flying)

    def completed(self) -> Launch | None:
        """The oldest launch, if it has landed, and is so no longer under way."""
        if self._under_way and self._under_way[0].completed.is_set():
            return self._under_way.popleft().launch
        return None

    def withdraw(self, worker: Worker) -> list[Launch]:
        """The launches of a worker that are under way, landed and taken out."""
        recalled = [flying for flying in self._under_way if flying.launch.worker is worker]
        for flying in recalled:
            flying.completed.wait()
            self._under_way.remove(flying)
        return [flying.launch for flying in recalled]

    def compute(self) -> bool:
        """Waits for the next launch to land, once there is one; False once it was stopped. On the computing thread."""
        flying = self._ready.get()
        if flying:
            flying.launch.land()
            flying.completed.set()
            self._landed()
        return flying is not None

    def _main(self) -> None:
        while self.compute():
            pass
