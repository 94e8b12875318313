"""Context: a call as a handler sees it, with messages that are awaited."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
from google.protobuf.message import Message

from elman_server.door.rpc.call import Call, Metadata


class CallerGoneError(Exception):
    """A message could not be written: nobody reads any more, or gRPC took it not and has told the caller. The handler
    ends; nothing of it has failed."""


class Context:
    """As much of `grpc.aio.ServicerContext` as is used here."""

    def __init__(self, call: Call, handler: Any) -> None:
        """`handler`: grpc.RpcMethodHandler."""
        self.call = call
        self._parse = handler.request_deserializer
        self._serialize = handler.response_serializer

    def peer(self) -> str:
        """The caller's address."""
        return self.call.peer()

    def invocation_metadata(self) -> Metadata:
        """What the caller sent along."""
        return self.call.metadata

    def time_remaining(self) -> float | None:
        """Seconds to the deadline, not below 0; None without one."""
        return self.call.time_remaining()

    async def read(self) -> object:
        """The next message, or grpc.aio.EOF.

        Raises:
            DecodeError: it does not parse.
        """
        future: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self.call.receive(lambda data: None if future.done() else future.set_result(data))
        data = await future
        return grpc.aio.EOF if data is None else self._parse(data)

    async def requests(self) -> AsyncIterator[Message]:
        """All messages."""
        while (request := await self.read()) is not grpc.aio.EOF:
            yield request  # type: ignore[misc]

    async def write(self, message: Message) -> None:
        """Sends a message; returns when there is room for more.

        Raises:
            CallerGoneError: the caller is gone; perhaps before the call is told to be over.
        """
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.call.send(
            self._serialize(message), lambda has_room: None if future.done() else future.set_result(has_room)
        )
        if not await future:
            raise CallerGoneError(self.call.method)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """Ends the call.

        Raises:
            grpc.aio.AbortError: always, so that the handler ends, too.
        """
        self.call.finish(code, details, trailing_metadata)
        raise grpc.aio.AbortError(details)
