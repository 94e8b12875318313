"""The plain door: the same by `grpc.aio`'s public interface, for where the native one cannot be built. Slower."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import grpc

from elman_server.door.rpc.call import Call, Metadata, Received, Sent
from elman_server.door.rpc.certificates import CertificateBytes, CertificateFiles, CertificateReader
from elman_server.threads.isolated import isolated
from elman_server.threads.mailbox import LoopCalls, Mailbox

BUG = "what follows a message"


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
        # A task each for all messages, which rests until it is asked for one more: a task for each message costs more.
        self._reading: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._wanted, self._given = self._loop.create_future(), self._loop.create_future()
        self._then_received: Received | None = None
        self._then_sent: Sent | None = None
        self._message = b""
        self._has_left: asyncio.Future[None] | None = None

    def peer(self) -> str:
        """The caller's address."""
        return str(self._context.peer())

    def time_remaining(self) -> float | None:
        """Seconds to the deadline, not below 0; None without one."""
        remaining: float | None = self._context.time_remaining()
        return None if remaining is None else max(0.0, remaining)

    def receive(self, then: Received) -> None:
        """Reads one more message."""
        if self.is_over or self._is_finished:
            self._loop.call_soon(then, None)
            return
        self._then_received = then
        if self._reading is None:
            self._reading = self._loop.create_task(self._read_on())
        elif self._reading.done():
            self._loop.call_soon(self._tell_received, None)
        else:
            self._wanted.set_result(None)

    def send(self, message: bytes, then: Sent) -> None:
        """Writes a message."""
        if self.is_over or self._is_finished:
            self._loop.call_soon(then, False)
            return
        self._message, self._then_sent = message, then
        if self._writing is None:
            self._writing = self._loop.create_task(self._write_on())
        elif self._writing.done():
            self._loop.call_soon(self._tell_sent, False)
        else:
            self._given.set_result(None)

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
            if self._then_sent:  # it leaves first
                self._has_left = self._loop.create_future()
                await self._has_left
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
        # A task that is cancelled before it began says nothing.
        self._loop.call_soon(self._tell_received, None)
        self._loop.call_soon(self._tell_sent, False)
        on_cancel, self.on_cancel = self.on_cancel, None
        if on_cancel and not self._is_finished:
            on_cancel()

    # Whatever becomes of a message, who waits for it is told.

    async def _read_on(self) -> None:
        message: bytes | None = b""
        try:
            while message is not None:
                read = await self._context.read()
                message = None if read is grpc.aio.EOF else read
                self._wanted = self._loop.create_future()
                self._tell_received(message)
                if message is not None:
                    await self._wanted
        except Exception:  # noqa: BLE001 - the call is over
            pass
        finally:
            self._tell_received(None)

    async def _write_on(self) -> None:
        try:
            while True:
                await self._context.write(self._message)
                self._given = self._loop.create_future()
                self._tell_sent(True)
                await self._given
        except Exception:  # noqa: BLE001 - the call is over
            pass
        finally:
            self._tell_sent(False)

    def _tell_received(self, message: bytes | None) -> None:
        then, self._then_received = self._then_received, None
        if then:
            isolated(partial(then, message), BUG)

    def _tell_sent(self, may_follow: bool) -> None:
        then, self._then_sent = self._then_sent, None
        if self._has_left and not self._has_left.done():
            self._has_left.set_result(None)
        if then:
            isolated(partial(then, may_follow), BUG)


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
