"""A bidirectional stream: what is common to those of all surfaces. On the engine's thread."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from elman_server.door.caller_limits import Caller
from elman_server.door.native.port import NativeStreamCall
from elman_server.door.native.read_ahead import ReadAhead
from elman_server.door.rpc.call import StreamCall
from elman_server.errors import Draining, EngineFailed
from elman_server.exchange.frames import Frame

Item = TypeVar("Item")
"""What is to be sent, before it is a message."""


class Stream(ABC, Generic[Item]):
    """Reads on while its caller has room, and sends one message after the other, as many at a time as the call takes.
    So what has come together is read together, and what is answered together is sent together."""

    def __init__(self, call: StreamCall, caller: Caller, read_ahead: ReadAhead | None = None) -> None:
        """`read_ahead`: how the door reads by itself, where the call is of the native one."""
        self.caller = caller
        """Whom it counts against."""
        self.on_end: Callable[[Exception | None], None] | None = None
        """Called once: half-closed by the caller and answered; or why it ends: Draining once all that was admitted is
        answered, DecodeError for a message that does not parse, or a bug."""
        self.draining = False
        """Set by `end`: what comes is refused."""
        self._call = call
        self._read_ahead = read_ahead
        self._is_read_ahead = False
        self._outbox: deque[Item] = deque()
        self._sending: deque[Item | None] = deque()  # None: the greeting
        self._read_all = False
        self._gone = False

    @abstractmethod
    def fail(self, error: EngineFailed) -> None:
        """Ends all that is open with that error: the engine answers no more."""

    @abstractmethod
    def _accept(self, data: bytes) -> None:
        """Takes in a message. What it raises ends the stream."""

    @abstractmethod
    def _encode(self, item: Item) -> bytes:
        """The message. What it raises ends the stream."""

    @abstractmethod
    def _sent(self, item: Item) -> None:
        """Takes in that an item counts no more: it is sent, or never will be."""

    @abstractmethod
    def _has_open(self) -> bool:
        """Whether something that was accepted is not answered yet."""

    @abstractmethod
    def _let_go(self) -> None:
        """The stream is over: drops what has not begun."""

    def begin(self, greeting: bytes | None = None) -> None:
        """Begins to read, and sends a first message."""
        if greeting is not None:
            self._sending.append(None)
            self._call.send(greeting, self._has_sent)
        self._read_on()

    def on_bug(self, frame: Frame, error: Exception) -> None:
        """Ends the stream: an answer to the frame met a bug."""
        self._fail(error)

    def leave(self) -> None:
        """It is over: what has not begun is dropped, and nothing more is sent."""
        self._gone = True
        self._let_go()
        while self._outbox:
            self._sent(self._outbox.popleft())

    def end(self) -> None:
        """Refuses what comes from now on, and ends once everything is answered."""
        self.draining = True
        self._end_if_done()

    def _queue(self, item: Item) -> None:
        if self._gone:  # nobody reads it
            self._sent(item)
            return
        self._outbox.append(item)
        self._send_on()

    def _join(self, call: NativeStreamCall, read_ahead: ReadAhead) -> None:
        # Has the door read on by itself.
        read_ahead.join(call, self.caller)

    def _read_on(self) -> None:
        if self._gone or self._is_read_ahead:
            return
        if self._read_ahead is not None:
            self._is_read_ahead = True
            call = cast(NativeStreamCall, self._call)
            call.receive_all(self._received_ahead)
            self._join(call, self._read_ahead)
            return
        if self.caller.is_full:
            self.caller.when_room(self._read_on)
            return
        try:
            self._call.receive(self._received)
        except Exception as error:  # noqa: BLE001 - it ends the stream, and no other that waits for the same room
            self._fail(error)

    def _received_ahead(self, data: bytes | None, num_rows: int) -> None:
        self._received(data)
        if self._read_ahead is not None and data is not None:
            self._read_ahead.took(self.caller, num_rows)

    def _received(self, data: bytes | None) -> None:
        if self._gone:
            return
        if data is None:
            self._read_all = True
            self._end_if_done()
            return
        try:
            self._accept(data)
        except Exception as error:  # noqa: BLE001 - it ends the stream
            self._fail(error)
        else:
            self._read_on()

    def _send_on(self) -> None:
        # Nothing follows what has ended the stream.
        while self.on_end and self._outbox and len(self._sending) < self._call.max_sends:
            item = self._outbox.popleft()
            try:
                self._call.send(self._encode(item), self._has_sent)
            except Exception as error:  # noqa: BLE001 - it ends the stream, and no other that is answered with it
                self._sent(item)
                self._fail(error)
                return
            self._sending.append(item)

    def _has_sent(self, has_room: bool) -> None:
        item = self._sending.popleft()
        if item is not None:
            self._sent(item)
        if self._gone or not has_room:  # then the caller is gone, too: `run` is cancelled
            return
        self._send_on()
        self._end_if_done()

    def _end_if_done(self) -> None:
        is_ending = self._read_all or self.draining
        if is_ending and not (self._has_open() or self._outbox or self._sending):
            self._end(None if self._read_all else Draining("the server is stopping; reconnect"))

    def _fail(self, error: Exception) -> None:
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        on_end, self.on_end = self.on_end, None
        if on_end:
            on_end(error)
