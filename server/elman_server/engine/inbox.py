"""The inbox: what is handed to the engine, in the order in which it came."""

import select
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from elman_server.exchange.frames import Frame
from elman_server.exchange.port import Port
from elman_server.exchange.served import ServedModel
from elman_server.threads.mailbox import Wakener

Job = Callable[[], None]
"""Something to be done between two batches."""


class Submission(NamedTuple):
    """A frame, and whose it is."""

    worker: ServedModel
    frame: Frame


class Frames(NamedTuple):
    """Frames for one worker that stand together."""

    worker: ServedModel
    frames: list[Frame]


class Inbox:
    """Filled from any thread; emptied by the engine's, which waits for it and for its port."""

    def __init__(self) -> None:
        self._items: deque[Submission | Job] = deque()
        self._wakener = Wakener()
        self._poll = select.poll()
        self._poll.register(self._wakener, select.POLLIN)
        self._is_waited_for = False

    def listen_to(self, port: Port) -> None:
        """Has `wait` end for what comes there, too."""
        for file in port.filenos():
            self._poll.register(file, select.POLLIN)

    def put(self, item: Submission | Job) -> None:
        """Hands something over. An engine that runs looks here before it waits, so it needs not be woken."""
        self._items.append(item)
        if self._is_waited_for:
            self._wakener.wake()

    def wake(self) -> None:
        """Ends a wait."""
        self._wakener.wake()

    def wait(self, seconds: float) -> None:
        """Until something has come, or somebody wakes it; so long at most."""
        self._is_waited_for = True
        if not self._items:  # else it came before that was known
            self._poll.poll(seconds * 1e3)
        self._is_waited_for = False

    def take_all(self) -> list[Frames | Job]:
        """All that is there; frames for one worker that stand together are one."""
        self._wakener.rest()
        taken: list[Frames | Job] = []
        latest: Frames | None = None
        for _ in range(len(self._items)):
            item = self._items.popleft()
            if not isinstance(item, Submission):
                latest = None
                taken.append(item)
            elif latest and latest.worker is item.worker:
                latest.frames.append(item.frame)
            else:
                latest = Frames(item.worker, [item.frame])
                taken.append(latest)
        return taken
