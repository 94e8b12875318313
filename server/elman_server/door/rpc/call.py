"""One RPC, whichever server it came by: messages in and out as bytes, and a status."""

from collections.abc import Callable
from typing import Protocol

import grpc

from elman_server.door.rpc.certificates import CertificateFiles
from elman_server.exchange.port import Port
from elman_server.threads.mailbox import LoopCalls

Metadata = tuple[tuple[str, str | bytes], ...]
Received = Callable[[bytes | None], None]
"""Called with a message, or with None where there are no more: the caller has said so, or is gone."""
Sent = Callable[[bool], None]
"""Called with whether another message may follow; if not, the caller is gone."""


class Call(Protocol):
    """At most one `receive` and one `send` are under way at a time. On the event loop's thread."""

    method: str
    """"/package.Service/Method"."""
    metadata: Metadata
    """What the caller sent along."""
    on_cancel: Callable[[], object] | None
    """Called if the call ends without a status of ours: its caller went away, or its deadline passed."""

    @property
    def is_over(self) -> bool:
        """Whether nothing travels any more."""
        ...

    def peer(self) -> str:
        """The caller's address."""
        ...

    def time_remaining(self) -> float | None:
        """Seconds to the deadline, not below 0; None without one."""
        ...

    def receive(self, then: Received) -> None:
        """Reads one more message."""
        ...

    def send(self, message: bytes, then: Sent) -> None:
        """Writes a message."""
        ...

    def finish(
        self, code: grpc.StatusCode, details: str = "", trailing: Metadata = (), message: bytes | None = None
    ) -> None:
        """Ends the call, with a last message or without; does nothing if it has ended."""
        ...


class StreamCall(Protocol):
    """A call's messages, on the engine's thread. At most one `receive` is under way at a time."""

    max_sends: int
    """How many `send`s may be under way at a time."""

    def receive(self, then: Received) -> None:
        """Reads one more message."""
        ...

    def send(self, message: bytes, then: Sent) -> None:
        """Writes a message."""
        ...


class StreamPort(Port, Protocol):
    """Where calls are served on the engine's thread: those whose messages are frames."""

    def post(self, function: Callable[[], object]) -> None:
        """Calls a function there, soon. From any thread."""
        ...

    def hand_over(self, call: Call) -> StreamCall:
        """From now on the call's messages travel there; of the call itself only its end is left. On the engine's
        thread."""
        ...


class Transport(Protocol):
    """A gRPC server that knows no method."""

    def port(self, loop_calls: LoopCalls) -> StreamPort:
        """Its side on the engine's thread. Once."""
        ...

    def add_insecure_port(self, address: str) -> int:
        """Listens at HOST:PORT or unix:PATH; the port, 0 for a path. Calls that come wait for `start`.

        Raises:
            OSError: it cannot.
        """
        ...

    def add_secure_port(self, address: str, files: CertificateFiles) -> int:
        """The same by TLS, with files that are read again as they change.

        Raises:
            OSError: it cannot.
            CertificateError: the files are not good.
        """
        ...

    async def start(self, on_call: Callable[[Call], None]) -> None:
        """Hands over each call that comes."""
        ...

    async def stop(self, grace_seconds: float) -> None:
        """Takes no more calls, and cancels those that have not ended by then; returns when all are over."""
        ...
