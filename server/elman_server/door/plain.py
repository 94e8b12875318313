"""The plain door: the same by `grpc.aio`'s public interface, for where the native one cannot be built. Slower."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import grpc

from elman_server.door.call import Call, Metadata, Received, Sent
from elman_server.door.certificates import CertificateBytes, CertificateFiles, CertificateReader
from elman_server.threads.mailbox import LoopCalls, Mailbox

T = TypeVar("T")


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
        self._reading: asyncio.Task[bytes | None] | None = None
        self._writing: asyncio.Task[bool] | None = None

    def peer(self) -> str:
        """The caller's address."""
        return str(self._context.peer())

    def time_remaining(self) -> float | None:
        """Seconds to the deadline, not below 0; None without one."""
        remaining: float | None = self._context.time_remaining()
        return None if remaining is None else max(0.0, remaining)

    def receive(self, then: Received) -> None:
        """Reads one more message."""
        self._reading = self._run(self._read(), then, None)

    def send(self, message: bytes, then: Sent) -> None:
        """Writes a message."""
        self._writing = self._run(self._write(message), then, False)

    def finish(
        self, code: grpc.StatusCode, details: str = "", trailing: Metadata = (), message: bytes | None = None
    ) -> None:
        """Ends the call, with a last message or without; does nothing if it has ended."""
        if not (self.is_over or self._is_finished or self._ending.done()):
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

    def _run(self, coroutine: Coroutine[Any, Any, T], then: Callable[[T], None], instead: T) -> asyncio.Task[T] | None:
        # Whatever becomes of it, `then` is called: with `instead` where it fails, is cancelled or cannot begin.
        if self.is_over or self._is_finished:
            coroutine.close()
            self._loop.call_soon(then, instead)
            return None

        def done(task: asyncio.Task[T]) -> None:
            has_failed = task.cancelled() or task.exception() is not None
            then(instead if has_failed else task.result())

        task = self._loop.create_task(coroutine)
        task.add_done_callback(done)
        return task

    async def _read(self) -> bytes | None:
        read = await self._context.read()
        return None if read is grpc.aio.EOF else read

    async def _write(self, message: bytes) -> bool:
        await self._context.write(message)
        return True


class PlainStreamCall:
    """See `StreamCall`. Its messages are read and written by the loop."""

    max_sends = 1

    def __init__(self, call: Call, loop_calls: LoopCalls, post: Callable[[Callable[[], object]], None]) -> None:
        self._call = call
        self._loop_calls = loop_calls
        self._post = post

    def receive(self, then: Received) -> None:
        """Reads one more message."""
        self._loop_calls.put(partial(self._call.receive, lambda message: self._post(partial(then, message))))

    def send(self, message: bytes, then: Sent) -> None:
        """Writes a message."""
        self._loop_calls.put(
            partial(self._call.send, message, lambda may_follow: self._post(partial(then, may_follow)))
        )


class PlainPort:
    """See `StreamPort`."""

    def __init__(self, loop_calls: LoopCalls) -> None:
        self._loop_calls = loop_calls
        self._mailbox = Mailbox()
        self.post = self._mailbox.post

    def filenos(self) -> tuple[int, ...]:
        """See `Port`."""
        return (self._mailbox.fileno(),)

    def take(self) -> None:
        """See `Port`."""
        self._mailbox.call_all()

    def hand_over(self, call: Call) -> PlainStreamCall:
        """See `StreamPort`."""
        return PlainStreamCall(call, self._loop_calls, self.post)


class PlainTransport(grpc.GenericRpcHandler):
    """See `Transport`. On the running event loop."""

    def __init__(self, options: Sequence[tuple[str, int]] = ()) -> None:
        """`options`: gRPC's channel arguments."""
        self._server = grpc.aio.server(handlers=[self], options=tuple(options))
        self._on_call: Callable[[Call], None] | None = None

    def port(self, loop_calls: LoopCalls) -> PlainPort:
        """See `Transport`."""
        return PlainPort(loop_calls)

    def add_insecure_port(self, address: str) -> int:
        """Listens there; the port, 0 for a path.

        Raises:
            OSError: it cannot.
        """
        return self._listen(address, self._server.add_insecure_port)

    def add_secure_port(self, address: str, files: CertificateFiles) -> int:
        """Listens there by TLS; the port, 0 for a path.

        Raises:
            OSError: it cannot.
            CertificateError: the files are not good.
        """
        reader = CertificateReader(files, "the former ones serve on")

        def fetch() -> Any:  # at each new connection; None: as before
            changed = reader.changed()
            return changed and _configuration(changed)

        first, has_client_ca = _configuration(reader.read()), files.client_ca is not None
        credentials = grpc.dynamic_ssl_server_credentials(first, fetch, has_client_ca)
        return self._listen(address, lambda at: self._server.add_secure_port(at, credentials))

    def _listen(self, address: str, add_port: Callable[[str], int]) -> int:
        try:
            return add_port(address)
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


def _configuration(certificates: CertificateBytes) -> grpc.ServerCertificateConfiguration:
    key, chain, client_ca = certificates
    return grpc.ssl_server_certificate_configuration([(key, chain)], client_ca)
