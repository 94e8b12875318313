"""One Step stream of the load generator's: numbered frames out, results in, each frame timed."""

import itertools
import math
from typing import Any

import grpc

from elman.v1 import inference_pb2
from elman_server.loadgen.frame_bytes import FrameBytes
from elman_server.loadgen.window_counts import SentFrame, WindowCounts, now

METHOD = "/elman.v1.Inference/Step"


class FrameStream:
    """Sends frames made ahead, and tells the counts what comes back."""

    def __init__(self, call: "grpc.aio.StreamStreamCall[Any, Any]", counts: WindowCounts) -> None:
        self._call = call
        self._counts = counts
        self._numbers = itertools.count(1)
        self._sent: dict[int, SentFrame] = {}

    @classmethod
    async def begin(cls, channel: grpc.aio.Channel, counts: WindowCounts) -> "FrameStream":
        """Opens the stream and awaits the server's first message. Requests pass as the bytes that they are."""
        method: grpc.aio.StreamStreamMultiCallable[Any, Any] = channel.stream_stream(
            METHOD, None, inference_pb2.StepResponse.FromString
        )
        call = method()
        await call.read()
        return cls(call, counts)

    @property
    def num_in_flight(self) -> int:
        """Frames under way."""
        return len(self._sent)

    async def send(self, frame: FrameBytes, due: float) -> None:
        """Sends a frame; `due` is when it was to be sent."""
        number = next(self._numbers)
        self._sent[number] = SentFrame(due, frame.rows)
        await self._call.write(frame.numbered(number))

    async def receive(self) -> bool:
        """Takes one result; whether a frame ended with it.

        Raises:
            ConnectionError: the server ended the stream.
        """
        response: Any = await self._call.read()
        if response is grpc.aio.EOF:
            raise ConnectionError(f"the stream ended: {await self._call.code()} {await self._call.details()}")
        return self._take(response, now())

    def end(self) -> None:
        """Ends the stream; what is under way is not awaited."""
        self._call.cancel()

    def _take(self, response: inference_pb2.StepResponse, at: float) -> bool:
        sent = self._sent[response.frame_id]
        refused = bool(response.errors) or response.HasField("frame_error")
        if not refused:
            self._counts.came(sum(response.lengths))
            if math.isnan(sent.first):
                sent.first = at
        sent.rows_left -= len(response.finished) + len(response.errors)
        if sent.rows_left and not response.HasField("frame_error"):
            return False
        del self._sent[response.frame_id]
        self._counts.ended(sent, refused, at)
        return True
