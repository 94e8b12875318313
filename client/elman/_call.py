"""One `Step` stream: frames out, results in, until it is cut."""

from __future__ import annotations

import asyncio

import grpc

from elman._errors import ElmanError, ErrorDetails, UnavailableError
from elman._status import error_of_call
from elman._transport import Transport
from elman.v1 import inference_pb2

_OPEN_TIMEOUT_SECONDS = 20.0

StepCallable = grpc.aio.StreamStreamCall[inference_pb2.StepRequest, inference_pb2.StepResponse]


class StepCall:
    """An open stream, and the server process at its other end."""

    def __init__(self, call: StepCallable, server_instance: str) -> None:
        self.server_instance = server_instance
        self._call = call

    @classmethod
    async def open(cls, transport: Transport) -> StepCall:
        """Opens the stream and waits for the server's name. Raises ElmanError."""
        call = transport.inference.Step(metadata=transport.metadata)
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT_SECONDS):
                first = await _read(call)
        except TimeoutError:
            call.cancel()
            raise cut("the server did not answer") from None
        return cls(call, first.server_instance)

    async def read(self) -> inference_pb2.StepResponse:
        """The next result. Raises ElmanError when the stream has ended."""
        return await _read(self._call)

    async def write(self, frame: inference_pb2.StepRequest) -> None:
        """Sends a frame; waits while the server does not read. Raises ElmanError when the stream has ended."""
        try:
            await self._call.write(frame)
        except grpc.aio.AioRpcError as error:
            raise error_of_call(error) from None
        except (asyncio.InvalidStateError, grpc.aio.BaseError) as error:
            raise cut(str(error)) from None

    def cancel(self) -> None:
        """Ends the stream from this side."""
        self._call.cancel()


def cut(message: str) -> ElmanError:
    """A stream that ended without a status of its own."""
    return UnavailableError(message, ErrorDetails("UNAVAILABLE"))


async def _read(call: StepCallable) -> inference_pb2.StepResponse:
    try:
        response = await call.read()
    except grpc.aio.AioRpcError as error:
        raise error_of_call(error) from None
    except (asyncio.InvalidStateError, grpc.aio.BaseError) as error:
        raise cut(str(error)) from None
    if not isinstance(response, inference_pb2.StepResponse):
        raise cut("the server ended the stream")
    return response
