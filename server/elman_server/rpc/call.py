"""One RPC: messages in and out as bytes, and a status."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc

from elman_server.rpc.core import core

Metadata = tuple[tuple[str, str | bytes], ...]
Received = Callable[[bytes | None], None]
"""Told a message, or None where there are no more: the caller has said so, or is gone."""
Sent = Callable[[bool], None]
"""Told whether there is room for another message; if not, the caller is gone."""

FOREVER_SECONDS = 1e10
"""gRPC's deadline of a call without one is further away."""


class Call:
    """At most one `receive` and one `send` are under way at a time. On the loop's thread."""

    def __init__(self, event: Any, loop: asyncio.AbstractEventLoop) -> None:
        """`event`: of a call that was requested."""
        self.method: str = event.call_details.method.decode(errors="replace")  # bytes may come that are no text
        """"/package.Service/Method"."""
        self.metadata: Metadata = tuple((one.key, one.value) for one in event.invocation_metadata)
        """What the caller sent along."""
        self.on_cancel: Callable[[], object] | None = None
        """Called if the call ends without a status of ours: its caller went away, or its deadline passed."""
        self._call: Any = event.call  # None once it is over
        self._loop = loop
        self._deadline: float = event.call_details.deadline
        self._peer = ""
        self._is_begun = False  # by the initial metadata
        self._is_finished = False
        self._then_received: Received | None = None
        self._then_sent: Sent | None = None
        self._start((core.ReceiveCloseOnServerOperation(0),), self._closed)

    @property
    def is_over(self) -> bool:
        """Whether nothing travels any more."""
        return self._call is None

    def peer(self) -> str:
        """The caller's address."""
        if not self._peer and self._call is not None:
            self._peer = self._call.peer().decode(errors="replace")
        return self._peer

    def time_remaining(self) -> float | None:
        """Seconds to the deadline, not below 0; None without one."""
        remaining = self._deadline - time.time()
        return None if remaining > FOREVER_SECONDS else max(0.0, remaining)

    def receive(self, then: Received) -> None:
        """Reads one more message."""
        if self._call is None:
            self._loop.call_soon(then, None)
            return
        self._then_received = then
        self._start((core.ReceiveMessageOperation(0),), self._received)

    def send(self, message: bytes, then: Sent) -> None:
        """Writes a message."""
        if self._call is None or self._is_finished:
            self._loop.call_soon(then, False)
            return
        self._then_sent = then
        send = core.SendMessageOperation(message, 0)
        self._start((send,) if self._is_begun else (self._initial_metadata(), send), self._sent)

    def finish(
        self, code: grpc.StatusCode, details: str = "", trailing: Metadata = (), message: bytes | None = None
    ) -> None:
        """Ends the call, with a last message or without; does nothing if it has ended."""
        if self._call is None or self._is_finished:
            return
        self._is_finished = True
        operations = [] if self._is_begun else [self._initial_metadata()]
        if message is not None:
            operations.append(core.SendMessageOperation(message, 0))
        operations.append(core.SendStatusFromServerOperation(trailing, code.value[0], details, 0))
        self._start(tuple(operations), _nothing_follows)

    def _initial_metadata(self) -> Any:
        self._is_begun = True
        return core.SendInitialMetadataOperation(None, 0)

    def _start(self, operations: tuple[Any, ...], tag: Callable[[Any], None]) -> None:
        error = self._call.start_server_batch(operations, tag)
        if error != core.CallError.ok:
            raise RuntimeError(
                f"gRPC does not take {[type(one).__name__ for one in operations]} of {self.method}: {error}"
            )

    def _received(self, event: Any) -> None:
        then, self._then_received = self._then_received, None
        if then:
            then(event.batch_operations[0].message())

    def _sent(self, event: Any) -> None:
        then, self._then_sent = self._then_sent, None
        if then:
            then(event.success)

    def _closed(self, _: Any) -> None:
        # By our status, or without it. A server stops when no call is held any more; what is under way is told before.
        self._call = None
        on_cancel, self.on_cancel = self.on_cancel, None
        if on_cancel and not self._is_finished:
            on_cancel()


def _nothing_follows(_: Any) -> None:
    pass
