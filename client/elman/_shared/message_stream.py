"""One call that is answered by many messages."""

from __future__ import annotations

import asyncio
from typing import Any, Generic, TypeVar

import grpc

from elman._shared.deadline import Deadline
from elman._shared.errors import ElmanError
from elman._shared.status import error_of_call
from elman._shared.transport import Transport

ResponseT = TypeVar("ResponseT")


class MessageStream(Generic[ResponseT]):
    """Open from its first `read` until it has ended or is cancelled."""

    def __init__(self, transport: Transport, method: Any, request: object, deadline: Deadline) -> None:
        """`method`: of a generated stub, one message in and many out."""
        self._transport = transport
        self._method = method
        self._request = request
        self._deadline = deadline
        self._call: Any = None

    async def read(self) -> ResponseT | None:
        """The next message; None after the last. Raises ElmanError when it has ended otherwise."""
        answer = await self._read()
        if isinstance(answer, ElmanError):
            raise answer  # out here: gRPC's error would refer to it, and it to the call
        return answer

    def cancel(self) -> None:
        """Ends it from this side."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    async def _read(self) -> ResponseT | ElmanError | None:
        async with self._transport.under_way():
            try:
                if self._call is None:
                    seconds = self._deadline.left_seconds()
                    self._call = self._method(self._request, timeout=seconds, metadata=self._transport.metadata)
                message = await self._call.read()
            except grpc.aio.AioRpcError as failure:
                return error_of_call(failure)
            except asyncio.CancelledError:
                if (error := self._transport.why_cancelled()) is None:
                    raise
                return error
        return None if message is grpc.aio.EOF else message
