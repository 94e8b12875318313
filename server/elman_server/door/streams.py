"""Streams: those of one surface that there are, each served on the engine's thread while its call is on the loop's."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Generic, TypeVar

from elman_server.door.caller_limits import Caller, Callers
from elman_server.door.rpc.call import Call, StreamCall, StreamPort
from elman_server.door.stream import Stream
from elman_server.errors import EngineFailed
from elman_server.threads.mailbox import LoopCalls

S = TypeVar("S", bound=Stream[Any])


class Streams(Generic[S]):
    """Changed on the engine's thread alone, but for `serve`, which is the loop's side."""

    def __init__(self, port: StreamPort, loop_calls: LoopCalls, callers: Callers) -> None:
        self._port = port
        self._loop_calls = loop_calls
        self._callers = callers
        self._streams: set[S] = set()

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[S]:
        return iter(list(self._streams))

    async def serve(self, call: Call, make: Callable[[StreamCall, Caller], S], greeting: bytes | None = None) -> None:
        """Serves a call to its end by a stream that `make` makes, on the engine's thread.

        Raises:
            Exception: why the stream ended, see `Stream.on_end`.
        """
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        begun: list[S] = []
        peer = call.peer()

        def begin() -> None:
            try:
                stream = make(self._port.hand_over(call), self._callers.enter(peer))
                stream.on_end = lambda error: self._loop_calls.settle(ended, error=error)
                begun.append(stream)
                self._streams.add(stream)
                stream.begin(greeting)
            except Exception as error:  # noqa: BLE001 - it is told to whoever awaits
                self._loop_calls.settle(ended, error=error)

        self._port.post(begin)
        try:
            await ended
        finally:
            self._port.post(partial(self._leave, begun))

    def end(self) -> None:
        """Has each refuse what comes, and end once everything admitted is answered."""
        for stream in self:
            stream.end()

    def fail(self, error: EngineFailed) -> None:
        """Has each end what is open with that error."""
        for stream in self:
            stream.fail(error)

    def _leave(self, begun: list[S]) -> None:
        for stream in begun:
            self._streams.discard(stream)
            try:
                stream.leave()
            finally:
                self._callers.leave(stream.caller)
