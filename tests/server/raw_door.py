"""The native door without a server behind it, and streams to it."""

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration

from elman.v1 import tensor_pb2
from elman.v1.inference_pb2 import StepRequest

elman_native = pytest.importorskip("elman_native")

OPENED, RECEIVED, READ_ALL, SENT, OVER, IDLE, FRAMES, AHEAD = range(8)
GUARD_SECONDS = 120
INSTANCE = "here"
STEP = "/elman.v1.Inference/Step"
RNG = np.random.default_rng(14)


class RawDoor:
    """A door without a server behind it, and streams to it."""

    def __init__(self) -> None:
        self.door = elman_native.Door({"grpc.so_reuseport": 0}, INSTANCE)
        self.door.add_port("127.0.0.1:0")
        (self.port,) = self.door.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}")
        self.caller = self.door.add_caller(1 << 30)
        self.events: list[Any] = []
        self.sent: list[Any] = []
        self._come = asyncio.Event()
        self._streams: set[int] = set()  # calls that were handed over
        self.read_on()

    def read_on(self) -> None:
        """Takes in what comes."""
        loop = asyncio.get_running_loop()
        for file in (self.door.fileno(), self.door.streams_fileno()):
            loop.add_reader(file, self.take)

    def rest(self) -> None:
        """Nobody takes in what comes."""
        loop = asyncio.get_running_loop()
        for file in (self.door.fileno(), self.door.streams_fileno()):
            loop.remove_reader(file)

    def take(self) -> None:
        """Takes in what has come."""
        self.events += [event for event in self.door.take_all() if event[0] not in self._streams]
        events, sent = self.door.take_streams()
        self.events += events
        self.sent += sent
        self._come.set()

    async def until(self, is_true: Any) -> None:
        """Returns once it is true of what has come."""
        async with asyncio.timeout(GUARD_SECONDS):
            while not is_true():
                self._come.clear()
                await self._come.wait()

    async def stream(self) -> tuple[Any, int]:
        """A stream in frames mode: the client's end, and the call's number."""
        known = {number for number, kind, _ in self.events if kind == OPENED}
        stream: Any = self.channel.stream_stream(STEP)()
        await self.until(lambda: {n for n, kind, _ in self.events if kind == OPENED} - known)
        (number,) = {n for n, kind, _ in self.events if kind == OPENED} - known
        assert self.door.hand_over(number)
        self._streams.add(number)
        self.door.begin_frames(number, self.caller)
        return stream, number

    def batches(self) -> list[Any]:
        return [payload for _, kind, payload in self.events if kind == FRAMES]

    def messages(self) -> list[bytes]:
        return [payload[0] for _, kind, payload in self.events if kind == AHEAD]

    def counts(self) -> list[int]:
        """As how many rows each of the messages counts."""
        return [payload[1] for _, kind, payload in self.events if kind == AHEAD]

    def num_come(self) -> int:
        return sum(map(len, self.batches())) + len(self.messages())

    def has_come(self, count: int) -> bool:
        return self.num_come() == count

    async def end(self) -> None:
        await self.channel.close()
        await asyncio.to_thread(self.door.stop, 0.0)
        self.rest()


def frame(
    *, handle: int = 7, length: int = 1, position: int | None = None, size: int = 3, seconds: float | None = None
) -> StepRequest:
    """A good frame of one row."""
    data = RNG.standard_normal((length, size), np.float32)
    tensor = tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_F32, shape=data.shape, data=data.tobytes())
    request = StepRequest(frame_id=5, handles=[handle], lengths=[length], input=tensor, return_state=True)
    if position is not None:
        request.positions.append(position)
    if seconds is not None:
        request.timeout.CopyFrom(Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9)))
    return request
