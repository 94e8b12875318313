"""One `ModelInfer` call: waits for its inference's answer."""

import asyncio
from collections.abc import Callable

from elman_server.door.caller_limits import Charge
from elman_server.door.oip.inference import Inference, Part
from elman_server.exchange.answers import Answer
from elman_server.exchange.frames import Frame
from elman_server.exchange.mailbox import LoopCalls


class Call:
    """An asker of one frame."""

    def __init__(self, future: "asyncio.Future[Part]", loop_calls: LoopCalls, count: Callable[[Part], None]) -> None:
        """`future` gets the whole answer; an error stands in it. `count` is called with it, on the engine's thread."""
        self._future = future
        self._loop_calls = loop_calls
        self._count = count
        self.inference: Inference | None = None
        self.charge: Charge | None = None
        """What counts against its caller until it is answered, whether or not anybody waits for it still."""

    def on_result(self, frame: Frame, answer: Answer) -> None:
        """Takes a part, on the engine's thread; the last one settles the future."""
        part = self.inference.take(answer) if self.inference else None
        if part is None:
            return
        if self.charge:
            self.charge.release()
        self._count(part)
        self._loop_calls.settle(self._future, part)

    def on_bug(self, frame: Frame, error: Exception) -> None:
        """Fails the call."""
        if self.charge:
            self.charge.release()
        self._loop_calls.settle(self._future, error=error)
