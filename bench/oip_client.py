"""Streams with sequences in flight: the same client for both surfaces, which differ in their messages alone."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import numpy as np

from elman import wire
from elman.v1 import inference_pb2, sessions_pb2, sessions_pb2_grpc
from elman_server.door.oip.stubs import grpc_service_pb2 as pb

Key = Callable[[bytes], int]
"""Which sequence a response answers; -1: none. Raises RuntimeError for an error."""


@dataclass(frozen=True)
class Side:
    """One surface's stream."""

    name: str
    path: str
    first: tuple[bytes, ...]
    """The first request of each sequence."""
    then: tuple[bytes, ...]
    """All later ones."""
    key: Key


async def native(address: str, model: str, sequences: int, data: np.ndarray) -> Side:
    """`elman.v1` Step: one session per frame."""
    async with grpc.aio.insecure_channel(address) as channel:
        opened = await sessions_pb2_grpc.SessionsStub(channel).OpenSessions(
            sessions_pb2.OpenSessionsRequest(model=model, count=sequences)
        )
    frames = tuple(
        inference_pb2.StepRequest(
            frame_id=index, handles=[handle], lengths=[1], input=wire.to_tensor(data)
        ).SerializeToString()
        for index, handle in enumerate(opened.handles)
    )
    return Side("native Step", "/elman.v1.Inference/Step", frames, frames, _native_key)


def open_inference(model: str, sequences: int, data: np.ndarray) -> Side:
    """The Open Inference Protocol's ModelStreamInfer."""
    first, then = (
        tuple(_request(model, index, data, start=start) for index in range(sequences)) for start in (True, False)
    )
    path = "/inference.GRPCInferenceService/ModelStreamInfer"
    return Side("Open Inference Protocol", path, first, then, _open_inference_key)


class Running:
    """One side's open streams, with as many sequences on each. Between two turns nothing is in flight."""

    def __init__(self, side: Side, calls: "Sequence[grpc.aio.StreamStreamCall[bytes, bytes]]") -> None:
        self._side = side
        self._calls = calls
        self._has_begun = False

    async def turn(self, seconds: float) -> tuple[int, float]:
        """Steps answered with one of each sequence in flight, and the seconds that it took."""
        began, each = time.monotonic(), len(self._side.first) // len(self._calls)
        requests = self._side.then if self._has_begun else self._side.first
        self._has_begun = True
        mine = [requests[number * each : (number + 1) * each] for number in range(len(self._calls))]
        sent = [self._send(call, one, began + seconds) for call, one in zip(self._calls, mine, strict=True)]
        return sum(await asyncio.gather(*sent)), time.monotonic() - began

    async def _send(
        self, call: "grpc.aio.StreamStreamCall[bytes, bytes]", requests: Sequence[bytes], until: float
    ) -> int:
        steps, in_flight = 0, len(requests)
        for request in requests:
            await call.write(request)
        while in_flight:
            answer = await call.read()
            if not isinstance(answer, bytes):
                raise ConnectionError("the stream ended")
            index = self._side.key(answer)
            if index < 0:
                continue
            steps += 1
            if time.monotonic() < until:
                await call.write(self._side.then[index])
            else:
                in_flight -= 1
        return steps


@asynccontextmanager
async def running(address: str, side: Side, streams: int) -> AsyncIterator[Running]:
    """So many streams of that side, on a connection of their own."""
    async with grpc.aio.insecure_channel(address) as channel:
        calls: list[grpc.aio.StreamStreamCall[bytes, bytes]] = [
            channel.stream_stream(side.path)() for _ in range(streams)
        ]
        yield Running(side, calls)
        for call in calls:
            await call.done_writing()
            while await call.read() is not grpc.aio.EOF:
                pass


def _request(model: str, index: int, data: np.ndarray, *, start: bool) -> bytes:
    # As tritonclient writes it: both flags always, one raw input, one named output.
    request = pb.ModelInferRequest(model_name=model, id=str(index), raw_input_contents=[data.tobytes()])
    request.inputs.add(name="input", datatype="FP32", shape=[1, *data.shape])
    request.outputs.add(name="output")
    request.parameters["sequence_id"].int64_param = index + 1
    request.parameters["sequence_start"].bool_param = start
    request.parameters["sequence_end"].bool_param = False
    return request.SerializeToString()


def _native_key(response: bytes) -> int:
    message = inference_pb2.StepResponse.FromString(response)
    if message.errors or message.HasField("frame_error"):
        raise RuntimeError(f"a step failed: {message}")
    return message.frame_id if message.finished else -1


def _open_inference_key(response: bytes) -> int:
    message = pb.ModelStreamInferResponse.FromString(response)
    if message.error_message:
        raise RuntimeError(f"a step failed: {message.error_message}")
    return int(message.infer_response.id)
