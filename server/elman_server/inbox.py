"""The inbox: what is handed to the engine, in the order in which it came."""

from collections import deque
from collections.abc import Callable
from itertools import groupby
from typing import NamedTuple

from elman_server.frames import Frame
from elman_server.worker import Worker


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

    def __bool__(self) -> bool:
        return bool(self._items)

    def put(self, item: Submission | Job) -> None:
        """Hands something over."""
        self._items.append(item)

    @property
    def has_long_jobs(self) -> bool:
        """Whether there is what the event loop is not to wait for."""
        return any(isinstance(item, Job) and not item.is_short for item in list(self._items))

    def take_all(self) -> list[Frames | Callable[[], None]]:
        """All that is there; frames for one worker that stand together are one."""
        items = [self._items.popleft() for _ in range(len(self._items))]
        taken: list[Frames | Callable[[], None]] = []
        for worker, group in groupby(items, key=lambda item: item.worker if isinstance(item, Submission) else None):
            if worker:
                taken.append(Frames(worker, [item.frame for item in group if isinstance(item, Submission)]))
            else:
                taken.extend(item.function for item in group if isinstance(item, Job))
        return taken
