"""Telling: those who listen hear that there is more a few at a time, and no more often than messages are worth."""

from collections.abc import Sequence
from itertools import islice

from elman_server.engine.engine import Engine
from elman_server.generating.generation import Listening

MESSAGES_PER_SECOND = 500
"""Of all generations together, about, beside the first and the last of each. A message costs more than a row of a
batch, so the more listen, the more steps each message tells."""
AT_ONCE = 8
"""Who are told together wake the loop once."""


class Telling:
    """On the engine's thread. Those who have waited longest are told first."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: dict[Listening, None] = {}  # in their order
        self._is_due = False

    def later(self, listeners: Sequence[Listening]) -> None:
        """There is more for them, which can wait for its turn."""
        self._waiting |= dict.fromkeys(listeners)
        if self._waiting and not self._is_due:
            self._is_due = True
            self._engine.post(self._tell)

    def at_once(self, listener: Listening) -> None:
        """It is over for it."""
        self._waiting.pop(listener, None)
        self._engine.loop_calls.put(listener.notify)

    def _tell(self) -> None:
        told = list(islice(self._waiting, AT_ONCE))
        for listener in told:
            del self._waiting[listener]
            self._engine.loop_calls.put(listener.notify)
        self._engine.loop_calls.put_later(len(told) / MESSAGES_PER_SECOND, lambda: self._engine.post(self._go_on))

    def _go_on(self) -> None:
        self._is_due = bool(self._waiting)
        if self._is_due:
            self._tell()
