"""The native door: gRPC's C++ server inside this process (`elman-native`).

Its threads read and write without the interpreter's lock. Calls are told on the event loop; those that are handed over
are served on the engine's thread from then on, as far as messages go. What has come wakes either once, however much it
is.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import grpc

from elman_server.door.native.port import OPENED, OVER, READ_ALL, RECEIVED, SENT, NativePort
from elman_server.door.rpc.call import Call, Metadata, Received, Sent
from elman_server.door.rpc.certificates import CertificateFiles, CertificateReader
from elman_server.threads.isolated import isolated
from elman_server.threads.mailbox import LoopCalls


class NativeCall:
    """See `Call`. Known to the extension by its number."""

    def __init__(
        self, door: Any, number: int, opening: tuple[bytes, str, float, Metadata], loop: asyncio.AbstractEventLoop
    ) -> None:
        """`opening`: method, peer, deadline in seconds since the epoch, metadata."""
        method, self._peer, self._deadline, self.metadata = opening
        self.method = method.decode(errors="replace")  # bytes may come that are no text
        self.on_cancel: Callable[[], object] | None = None
        self.is_over = False
        self._door = door
        self.number = number
        """The extension's."""
        self._loop = loop
        self._is_finished = False
        self._then_received: Received | None = None
        self._then_sent: Sent | None = None

    def peer(self) -> str:
        """The caller's address."""
        return self._peer

    def time_remaining(self) -> float | None:
        """Seconds to the deadline, not below 0; None without one."""
        return None if math.isinf(self._deadline) else max(0.0, self._deadline - time.time())

    def receive(self, then: Received) -> None:
        """Reads one more message."""
        if self.is_over or self._is_finished:
            self._loop.call_soon(then, None)
            return
        self._then_received = then
        self._door.receive(self.number)

    def send(self, message: bytes, then: Sent) -> None:
        """Writes a message."""
        if self.is_over or self._is_finished:
            self._loop.call_soon(then, False)
            return
        self._then_sent = then
        self._door.send(self.number, message)

    def finish(
        self, code: grpc.StatusCode, details: str = "", trailing: Metadata = (), message: bytes | None = None
    ) -> None:
        """Ends the call, with a last message or without; does nothing if it has ended."""
        if not (self.is_over or self._is_finished):
            self._is_finished = True
            self._door.finish(self.number, code.value[0], details, trailing, message)

    def happened(self, kind: int, payload: Any) -> None:
        """An event of this call's, as the extension tells it."""
        if kind in (RECEIVED, READ_ALL):
            self._tell_received(payload)
        elif kind == SENT:
            self._tell_sent(payload)
        elif kind == OVER:
            self._end()

    def _tell_received(self, message: bytes | None) -> None:
        then, self._then_received = self._then_received, None
        if then:
            then(message)

    def _tell_sent(self, may_follow: bool) -> None:
        then, self._then_sent = self._then_sent, None
        if then:
            then(may_follow)

    def _end(self) -> None:
        # What was under way when the caller went was perhaps never begun: it is told here.
        self.is_over = True
        try:
            self._tell_received(None)
            self._tell_sent(False)
        finally:
            on_cancel, self.on_cancel = self.on_cancel, None
            if on_cancel and not self._is_finished:
                on_cancel()


class NativeTransport:
    """See `Transport`. On the running event loop."""

    def __init__(self, options: Sequence[tuple[str, int]] = (), server_instance: str = "") -> None:
        """`options`: gRPC's channel arguments. `server_instance`: this process's name.

        Raises:
            ImportError: elman-native is not installed.
        """
        import elman_native

        self._loop = asyncio.get_running_loop()
        self.door = elman_native.Door(dict(options), server_instance)
        """The extension's."""
        self._calls: dict[int, NativeCall] = {}
        self._on_call: Callable[[Call], None] | None = None
        self._watching: asyncio.TimerHandle | None = None

    def port(self, loop_calls: LoopCalls) -> NativePort:
        """See `Transport`."""
        return NativePort(self.door)

    def add_insecure_port(self, address: str) -> int:
        """Listens there; the port, 0 for a path.

        Raises:
            OSError: it cannot.
        """
        self.door.add_port(address)
        return self._listen(address)

    def add_secure_port(self, address: str, files: CertificateFiles) -> int:
        """Listens there by TLS; the port, 0 for a path.

        Raises:
            OSError: it cannot.
            CertificateError: the files are not good.
        """
        reader = CertificateReader(files, "callers are refused until they are")  # and gRPC does not say why
        self._watch(reader, files.refresh_seconds)
        client_ca = str(files.client_ca) if files.client_ca else ""
        key, chain = str(files.private_key), str(files.certificate_chain)
        self.door.add_secure_port(address, key, chain, client_ca, files.refresh_seconds)
        return self._listen(address)

    def _watch(self, reader: CertificateReader, seconds: int) -> None:
        reader.changed()
        self._watching = self._loop.call_later(seconds, self._watch, reader, seconds)

    def _listen(self, address: str) -> int:
        try:
            ports = self.door.start()
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}") from error
        return int(ports[0])

    async def start(self, on_call: Callable[[Call], None]) -> None:
        """Hands over each call that comes."""
        self._on_call = on_call
        self._loop.add_reader(self.door.fileno(), self._take_all)

    async def stop(self, grace_seconds: float) -> None:
        """Takes no more calls, and cancels those that have not ended by then; returns when all are over."""
        if self._watching:
            self._watching.cancel()
        await asyncio.to_thread(self.door.stop, grace_seconds)
        if self._on_call:
            self._loop.remove_reader(self.door.fileno())
            self._take_all()  # the last calls' ends

    def _take_all(self) -> None:
        for number, kind, payload in self.door.take_all():
            isolated(partial(self._tell, number, kind, payload), "what follows an event of a call")

    def _tell(self, number: int, kind: int, payload: Any) -> None:
        if kind == OPENED:
            call = self._calls[number] = NativeCall(self.door, number, payload, self._loop)
            if self._on_call:
                self._on_call(call)
        else:
            known = self._calls.pop(number, None) if kind == OVER else self._calls.get(number)
            if known:  # else it is over
                known.happened(kind, payload)
