"""One `Step` stream: frames out, results in, until it is cut."""

from __future__ import annotations

import asyncio

import grpc

from elman._shared.errors import ElmanError, ErrorDetails, UnavailableError
from elman._shared.status import error_of_call
from elman._shared.transport import Transport
from elman.v1 import inference_pb2

_OPEN_TIMEOUT_SECONDS = 20.0

StepCall = grpc.aio.StreamStreamCall[inference_pb2.StepRequest, inference_pb2.StepResponse]


class StepStream:
    """An open stream, and the server process at its other end."""

    def __init__(self, call: StepCall) -> None:
        self.server_instance = ""
        self._call = call

    @classmethod
    async def open(cls, transport: Transport) -> StepStream:
        """Opens a stream and reads its first answer. Raises ElmanError."""
        self = cls(transport.inference.Step(metadata=transport.metadata))
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT_SECONDS):
                self.server_instance = (await self.read()).server_instance
        except TimeoutError:
            self.cancel()
            raise cut("the server did not answer") from None
        return self

    async def read(self) -> inference_pb2.StepResponse:
        """The next result. Raises ElmanError when the stream has ended."""
        try:
            response = await self._call.read()
        except grpc.aio.AioRpcError as failure:
            error = error_of_call(failure)
        except (asyncio.InvalidStateError, grpc.aio.BaseError) as failure:
            error = cut(str(failure))
        else:
            if isinstance(response, inference_pb2.StepResponse):
                return response
            error = cut("the server ended the stream")
        raise error  # out here: gRPC's error would refer to it, and it to the call

    async def write(self, frame: inference_pb2.StepRequest) -> None:
        """Sends a frame; waits while the server does not read. Raises ElmanError when the stream has ended."""
        try:
            await self._call.write(frame)
        except grpc.aio.AioRpcError as failure:
            error = error_of_call(failure)
        except (asyncio.InvalidStateError, grpc.aio.BaseError) as failure:
            error = cut(str(failure))
        else:
            return
        raise error

    def cancel(self) -> None:
        """Ends the stream from this side."""
        self._call.cancel()


def cut(message: str) -> ElmanError:
    """A stream that ended without a status of its own."""
    return UnavailableError(message, ErrorDetails("UNAVAILABLE"))
