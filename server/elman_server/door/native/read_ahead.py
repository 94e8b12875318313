"""Callers of the native door, whose streams it reads by itself for as long as they have room."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from elman_server.door.caller_limits import Caller, Callers
from elman_server.door.native.port import NativePort, NativeStreamCall


class ReadAhead:
    """How far the door reads each caller; and what of it was written. On the engine's thread."""

    def __init__(self, port: NativePort, callers: Callers) -> None:
        self._port, self._door = port, port.door
        self._callers: dict[int, Caller] = {}  # by number
        self._numbers: dict[Caller, int] = {}
        self._full: set[int] = set()  # callers that are read no further
        callers.on_gone = self._forget
        self._taken: dict[Caller, int] = {}  # rows since the door was told
        self._answers: list[tuple[int, int, bytes, int, int]] = []  # call, caller, message, rows and bytes
        self._gathers = False
        port.on_sent = self._sent

    def join(self, call: NativeStreamCall, caller: Caller, *, single_rows: bool = False) -> None:
        """From now on the call's messages are read as they come. `single_rows`: they are `Step`'s, and those of one row
        come together, as columns."""
        number = self._numbers.get(caller)
        if number is None:
            number = self._numbers[caller] = self._door.add_caller(caller.room)
            self._callers[number] = caller
        self._door.begin_frames(call.number, number, single_rows)

    def caller(self, number: int) -> Caller | None:
        """The caller that the door knows by that number, if it is not gone."""
        return self._callers.get(number)

    def count(self, number: int, rows: int, num_bytes: int) -> None:
        """More of a caller's that waits, runs or lies unread; negative: less."""
        caller = self._callers.get(number)
        if caller is not None:
            caller.add(rows, num_bytes)

    def took(self, caller: Caller, num_rows: int) -> None:
        """A message of the caller's that counts as so many rows was taken in; the door is told with all others that
        have come."""
        self._taken[caller] = self._taken.get(caller, 0) + num_rows
        self._port.then = self._settle_taken

    def answer(self, call: NativeStreamCall, caller: Caller, message: bytes, rows: int, num_bytes: int) -> None:
        """Writes a message, behind which rows and bytes of the caller's count no more. A call that is ended is so
        behind what is written."""
        self._answers.append((call.number, self._numbers[caller], message, rows, num_bytes))
        if not self._gathers:
            self.write_gathered()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Meanwhile answers are gathered, which are written at the end of it."""
        self._gathers = True
        try:
            yield
        finally:
            self._gathers = False
            self.write_gathered()

    def write_gathered(self) -> None:
        """Writes the answers that there are, before what is to follow them."""
        answers, self._answers = self._answers, []
        if answers:
            self._door.answer_frames(answers)

    def settle(self, caller: Caller, num_taken: int = 0) -> None:
        """Has the door read as much more of the caller as it has room for; so many rows more were taken in."""
        number, room = self._numbers.get(caller), caller.room
        if number is None:  # it is gone
            return
        self._door.set_room(number, room, num_taken)
        if not room and number not in self._full:
            self._full.add(number)
            caller.when_room(partial(self._read_on, number, caller))

    def _settle_taken(self) -> None:
        taken, self._taken = self._taken, {}
        for caller, count in taken.items():
            self.settle(caller, count)

    def _read_on(self, number: int, caller: Caller) -> None:
        self._full.discard(number)
        if number in self._callers:
            self.settle(caller)

    def _sent(self, sent: list[tuple[int, int, int]]) -> None:
        for number, rows, num_bytes in sent:
            self.count(number, -rows, -num_bytes)

    def _forget(self, caller: Caller) -> None:
        # It is gone, and nothing of it is open.
        number = self._numbers.pop(caller, None)
        if number is not None:
            del self._callers[number]
            self._full.discard(number)
            self._door.remove_caller(number)
