"""One `ModelInfer` call: waits for its inference's answer."""

import asyncio

from elman_server.door.caller_limits import Charge
from elman_server.door.oip.inference import Inference, Part
from elman_server.exchange.answers import Answer
from elman_server.exchange.frames import Frame


class Call:
    """An asker of one frame; on the loop's thread."""

    def __init__(self) -> None:
        self.inference: Inference | None = None
        self.future: asyncio.Future[Part] = asyncio.get_running_loop().create_future()
        """The whole answer; an error stands in it."""
        self._charge: Charge | None = None

    def leave(self, charge: Charge) -> None:
        """Nobody waits any more: what the call counts against its caller counts until it is answered."""
        charge.is_kept = True
        self._charge = charge

    def on_result(self, frame: Frame, answer: Answer) -> None:
        """Takes a part; the last one settles the future."""
        part = self.inference.take(answer) if self.inference else None
        if part is not None and self._charge:
            self._charge.release()
        if part is not None and not self.future.done():
            self.future.set_result(part)
