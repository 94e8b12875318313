"""The inbox: what is handed to the engine, in the order in which it came."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from elman_server.engine.worker import Worker
from elman_server.exchange.frames import Frame


class Submission(NamedTuple):
    """A frame, and whose it is."""

    worker: Worker
    frame: Frame


class Job(NamedTuple):
    """Something to be done between two batches."""

    function: Callable[[], None]
    is_short: bool
    """Whether it may be done on the event loop's thread."""


class Frames(NamedTuple):
    """Frames for one worker that stand together."""

    worker: Worker
    frames: list[Frame]


class Inbox:
    """Filled from any thread; emptied by the engine's."""

    def __init__(self) -> None:
        self._items: deque[Submission | Job] = deque()
        self._long_jobs: deque[None] = deque()  # one for each that is there: counted so, no thread needs a lock

    def __bool__(self) -> bool:
        return bool(self._items)

    def put(self, item: Submission | Job) -> None:
        """Hands something over."""
        if isinstance(item, Job) and not item.is_short:
            self._long_jobs.append(None)  # before it is there to be taken
        self._items.append(item)

    @property
    def has_long_jobs(self) -> bool:
        """Whether there is what the event loop is not to wait for."""
        return bool(self._long_jobs)

    def take_all(self) -> list[Frames | Callable[[], None]]:
        """All that is there; frames for one worker that stand together are one."""
        taken: list[Frames | Callable[[], None]] = []
        latest: Frames | None = None
        for _ in range(len(self._items)):
            item = self._items.popleft()
            if isinstance(item, Job):
                latest = None
                if not item.is_short:
                    self._long_jobs.pop()
                taken.append(item.function)
            elif latest and latest.worker is item.worker:
                latest.frames.append(item.frame)
            else:
                latest = Frames(item.worker, [item.frame])
                taken.append(latest)
        return taken
