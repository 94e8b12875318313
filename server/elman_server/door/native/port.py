"""The native door on the engine's thread: messages of calls that were handed over, and frames as columns."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, cast

from elman_server.door.rpc.call import Call, Received, Sent
from elman_server.threads.isolated import isolated
from elman_server.threads.mailbox import Mailbox

OPENED, RECEIVED, READ_ALL, SENT, OVER, IDLE, FRAMES, AHEAD = range(8)
"""Kinds of events, as in the extension's event.h."""
ReceivedAhead = Callable[[bytes | None, int], None]
"""Called with a message that was read by itself, and with as how many rows it counts; with None, 0 at the end."""
BUG = "what follows an event of a stream"


class Numbered(Protocol):
    """A call of the extension's."""

    number: int


class NativeStreamCall:
    """See `StreamCall`. Known to the extension by its number."""

    max_sends = 64
    """The extension writes them one after the other; what a caller does not read must not grow there."""

    def __init__(self, port: "NativePort", number: int, *, is_over: bool) -> None:
        self.number = number
        """The extension's."""
        self._port = port
        self._is_over = is_over
        self._then_received: Received | None = None
        self._then_ahead: ReceivedAhead | None = None
        self._then_idle: Callable[[], None] | None = None
        self._then_sent: deque[Sent] = deque()

    def receive(self, then: Received) -> None:
        """Reads one more message."""
        if self._is_over:
            self._port.post(partial(then, None))
            return
        self._then_received = then
        self._port.door.receive(self.number)

    def receive_all(self, then: ReceivedAhead) -> None:
        """As `receive`, for all messages that the extension hands over by themselves."""
        if self._is_over:
            self._port.post(partial(then, None, 0))
        self._then_received, self._then_ahead = lambda end: then(end, 0), then

    def when_idle(self, then: Callable[[], None]) -> None:
        """Has it called once every frame is answered, and every answer written."""
        self._then_idle = then
        self._port.door.tell_idle(self.number)

    def send(self, message: bytes, then: Sent) -> None:
        """Writes a message."""
        if self._is_over:
            self._port.post(partial(then, False))
            return
        self._then_sent.append(then)
        self._port.door.send(self.number, message)

    def happened(self, kind: int, payload: Any) -> None:
        """An event of this call's, as the extension tells it."""
        if kind in (RECEIVED, READ_ALL):
            self._tell_received(payload)
        elif kind == AHEAD and self._then_ahead:
            self._then_ahead(*payload)
        elif kind == SENT:
            self._tell_sent(payload)
        elif kind == IDLE and self._then_idle:
            self._then_idle()
        elif kind == OVER:
            self._is_over = True
            try:
                self._tell_received(None)
            finally:
                while self._then_sent:
                    self._tell_sent(False)

    def _tell_received(self, message: bytes | None) -> None:
        then, self._then_received = self._then_received, None
        if then:
            then(message)

    def _tell_sent(self, may_follow: bool) -> None:
        if self._then_sent:
            self._then_sent.popleft()(may_follow)


class NativePort:
    """See `StreamPort`."""

    def __init__(self, door: Any) -> None:
        self.door = door
        """The extension's, for those who take frames as columns."""
        self.on_frames: Callable[[Any], None] | None = None
        """Called with each `elman_native.FrameBatch`."""
        self.on_sent: Callable[[list[tuple[int, int, int]]], None] | None = None
        """Called with what was written: (caller, rows, bytes)."""
        self.then: Callable[[], None] | None = None
        """Called once, after all that has come by now is taken in."""
        self._calls: dict[int, NativeStreamCall] = {}
        self._mailbox = Mailbox()
        self.post = self._mailbox.post

    def filenos(self) -> tuple[int, ...]:
        """See `Port`."""
        return (self._mailbox.fileno(), self.door.streams_fileno())

    def take(self) -> None:
        """See `Port`."""
        self._mailbox.call_all()
        events, sent = self.door.take_streams()
        if sent and self.on_sent:
            isolated(partial(self.on_sent, sent), BUG)
        for number, kind, payload in events:
            isolated(partial(self._tell, number, kind, payload), BUG)
        then, self.then = self.then, None
        if then:
            isolated(then, BUG)

    def hand_over(self, call: Call) -> NativeStreamCall:
        """See `StreamPort`."""
        number = cast(Numbered, call).number
        is_there = self.door.hand_over(number)
        stream_call = NativeStreamCall(self, number, is_over=not is_there)
        if is_there:
            self._calls[number] = stream_call
        return stream_call

    def _tell(self, number: int, kind: int, payload: Any) -> None:
        if kind == FRAMES:
            if self.on_frames:
                self.on_frames(payload)
            return
        known = self._calls.pop(number, None) if kind == OVER else self._calls.get(number)
        if known:  # else it is over
            known.happened(kind, payload)
