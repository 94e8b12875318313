"""The plain door: the same by `grpc.aio`'s public interface, for where the native one cannot be built. Slower."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import grpc

from elman_server.door.call import Call, Metadata, Received, Sent


class PlainCall:
    """See `Call`. Served by one coroutine of grpc.aio's."""

    def __init__(self, method: str, context: Any) -> None:
        """`context`: grpc.aio.ServicerContext."""
        self.method = method
        self.metadata: Metadata = tuple((key, value) for key, value in context.invocation_metadata() or ())
        self.on_cancel: Callable[[], object] | None = None
        self.is_over = False
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._is_finished = False
        self._ending: asyncio.Future[tuple[grpc.StatusCode, str, Metadata, bytes | None]] = self._loop.create_future()
        self._reading: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None

    def peer(self) -> str:
        """The caller's address."""
        return str(self._context.peer())

    def time_remaining(self) -> float | None:
        """Seconds to the deadline, not below 0; None without one."""
        remaining: float | None = self._context.time_remaining()
        return None if remaining is None else max(0.0, remaining)

    def receive(self, then: Received) -> None:
        """Reads one more message."""
        self._reading = self._run(self._receive(then), partial(then, None))

    def send(self, message: bytes, then: Sent) -> None:
        """Writes a message."""
        self._writing = self._run(self._send(message, then), partial(then, False))

    def finish(
        self, code: grpc.StatusCode, details: str = "", trailing: Metadata = (), message: bytes | None = None
    ) -> None:
        """Ends the call, with a last message or without; does nothing if it has ended."""
        if not (self.is_over or self._is_finished):
            self._is_finished = True
            self._ending.set_result((code, details, trailing, message))

    async def serve(self) -> None:
        """Waits for the status, and ends the call with it. Cancelled if the caller goes away first."""
        try:
            code, details, trailing, message = await self._ending
            if self._writing:  # it leaves first
                await asyncio.wait({self._writing})
            if message is not None:
                await self._context.write(message)
            if code is grpc.StatusCode.OK:
                self._context.set_trailing_metadata(trailing)
            else:
                await self._context.abort(code, details, trailing)
        finally:
            self._end()

    def _end(self) -> None:
        self.is_over = True
        for task in (self._reading, self._writing):
            if task:
                task.cancel()
        on_cancel, self.on_cancel = self.on_cancel, None
        if on_cancel and not self._is_finished:
            on_cancel()

    def _run(self, coroutine: Coroutine[Any, Any, None], instead: Callable[[], None]) -> asyncio.Task[None] | None:
        if self.is_over or self._is_finished:
            coroutine.close()
            self._loop.call_soon(instead)
            return None
        return self._loop.create_task(coroutine)

    async def _receive(self, then: Received) -> None:
        message: bytes | None = None
        with contextlib.suppress(grpc.aio.AbortError, grpc.aio.UsageError, asyncio.CancelledError):
            read = await self._context.read()
            message = None if read is grpc.aio.EOF else read
        then(message)

    async def _send(self, message: bytes, then: Sent) -> None:
        has_sent = False
        with contextlib.suppress(grpc.aio.AbortError, grpc.aio.UsageError, asyncio.CancelledError):
            await self._context.write(message)
            has_sent = True
        then(has_sent)


class PlainTransport(grpc.GenericRpcHandler):
    """See `Transport`. On the running event loop."""

    def __init__(self, options: Sequence[tuple[str, int]] = ()) -> None:
        """`options`: gRPC's channel arguments."""
        self._server = grpc.aio.server(handlers=[self], options=tuple(options))
        self._on_call: Callable[[Call], None] | None = None

    def add_insecure_port(self, address: str) -> int:
        """Listens there; the port, 0 for a path.

        Raises:
            OSError: it cannot.
        """
        try:
            return self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}") from error

    async def start(self, on_call: Callable[[Call], None]) -> None:
        """Hands over each call that comes."""
        self._on_call = on_call
        await self._server.start()

    async def stop(self, grace_seconds: float) -> None:
        """Takes no more calls, and cancels those that have not ended by then; returns when all are over."""
        await self._server.stop(grace_seconds)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        """grpc.aio's question: every method is a stream of bytes each way."""
        method = handler_call_details.method

        async def serve(_: object, context: Any) -> None:
            call = PlainCall(method if isinstance(method, str) else method.decode(errors="replace"), context)
            if self._on_call:
                self._on_call(call)
            await call.serve()

        return grpc.stream_stream_rpc_method_handler(serve)
