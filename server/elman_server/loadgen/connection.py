"""A connection of the load generator's: one gRPC channel, and the calls that a load needs before its first frame."""

from collections.abc import Sequence

import grpc

from elman.v1 import models_pb2, models_pb2_grpc, sessions_pb2, sessions_pb2_grpc
from elman_server.loadgen.frame_bytes import Shape
from elman_server.loadgen.frame_stream import FrameStream
from elman_server.loadgen.window_counts import WindowCounts

MAX_MESSAGE_BYTES = 64 << 20
MAX_IDS = 65536
"""Sessions of one call."""

OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.use_local_subchannel_pool", 1),  # else all channels of a process share one connection
)


class Connection:
    """Opens sessions and streams on one channel."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address, OPTIONS)
        self._opened: list[str] = []

    async def describe(self, model: str, version: str) -> Shape:
        """What the model takes."""
        request = models_pb2.DescribeModelRequest(model=model, version=version)
        answer = await models_pb2_grpc.ModelsStub(self.channel).DescribeModel(request)
        return Shape.of(answer.model)

    async def open(self, model: str, version: str, count: int) -> list[int]:
        """Handles of that many new sessions.

        Raises:
            RuntimeError: the server did not open them all.
        """
        stub = sessions_pb2_grpc.SessionsStub(self.channel)
        handles: list[int] = []
        for begin in range(0, count, MAX_IDS):
            number = min(MAX_IDS, count - begin)
            opened = await stub.OpenSessions(
                sessions_pb2.OpenSessionsRequest(model=model, version=version, count=number)
            )
            failed = {error.index for error in opened.errors}
            self._opened += [one for index, one in enumerate(opened.session_ids) if index not in failed]
            handles += opened.handles
            if failed:
                raise RuntimeError(f"{len(failed)} of {number} sessions: {opened.errors[0].status.message}")
        return handles

    async def stream(self, counts: WindowCounts) -> FrameStream:
        """A Step stream."""
        return await FrameStream.begin(self.channel, counts)

    async def close(self, model: str) -> None:
        """Closes the sessions that it opened, and the channel."""
        for ids in _parts(self._opened):
            request = sessions_pb2.CloseSessionsRequest(model=model, session_ids=ids)
            await sessions_pb2_grpc.SessionsStub(self.channel).CloseSessions(request)
        await self.channel.close()


def _parts(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[begin : begin + MAX_IDS] for begin in range(0, len(ids), MAX_IDS)]
