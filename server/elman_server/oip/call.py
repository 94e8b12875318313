"""One `ModelInfer` call: waits for its inference's answer."""

import asyncio

from elman_server.answers import Answer
from elman_server.frames import Frame
from elman_server.oip.inference import Inference, Part


class Call:
    """An asker of one frame; on the loop's thread."""

    def __init__(self) -> None:
        self.inference: Inference | None = None
        self.future: asyncio.Future[Part] = asyncio.get_running_loop().create_future()
        """The whole answer; an error stands in it."""

    def deliver(self, frame: Frame, answer: Answer) -> None:
        """Takes a part; the last one settles the future."""
        part = self.inference.take(answer) if self.inference else None
        if part is not None and not self.future.done():
            self.future.set_result(part)
