"""Messages of a stream: sent in their order, as many at a time as its call takes."""

from typing import Any, cast

import pytest

from elman_server.config.server_config import Limits
from elman_server.door.caller_limits import Callers
from elman_server.door.rpc.call import Received, Sent
from elman_server.door.stream import Stream
from elman_server.errors import EngineFailed


class FakeCall:
    """Keeps what is sent until a test says that it was."""

    def __init__(self, max_sends: int) -> None:
        self.max_sends = max_sends
        self.sent: list[bytes] = []
        self._under_way: list[Sent] = []

    def receive(self, then: Received) -> None:
        """Nothing comes."""

    def send(self, message: bytes, then: Sent) -> None:
        """Writes a message."""
        self.sent.append(message)
        self._under_way.append(then)

    def arrive(self, has_room: bool = True) -> None:
        """The first of those under way has been written, or never will be."""
        self._under_way.pop(0)(has_room)


class Numbers(Stream[int]):
    """Sends numbers; a negative one cannot be encoded."""

    def __init__(self, call: FakeCall) -> None:
        super().__init__(cast(Any, call), Callers(Limits()).enter("someone"))
        self.counted: list[int] = []
        """Those that count no more."""
        self.ends: list[Exception | None] = []
        self.on_end = self.ends.append

    def fail(self, error: EngineFailed) -> None:
        """Nothing is open."""

    def _accept(self, data: bytes) -> None:
        pass

    def _encode(self, item: int) -> bytes:
        return item.to_bytes()  # raises OverflowError for negative ones

    def _sent(self, item: int) -> None:
        self.counted.append(item)

    def _has_open(self) -> bool:
        return False

    def _let_go(self) -> None:
        pass


@pytest.mark.parametrize("max_sends", [1, 3])
def test_no_more_are_under_way_than_the_call_takes(max_sends: int) -> None:
    call = FakeCall(max_sends)
    stream = Numbers(call)
    for number in range(5):
        stream._queue(number)
    assert call.sent == [bytes([number]) for number in range(max_sends)]
    assert not stream.counted
    for number in range(5):
        call.arrive()
        assert stream.counted == list(range(number + 1))
    assert call.sent == [bytes([number]) for number in range(5)]


def test_a_greeting_is_one_of_them_and_counts_for_nobody() -> None:
    call = FakeCall(2)
    stream = Numbers(call)
    stream.begin(b"hello")
    stream._queue(1)
    stream._queue(2)
    assert call.sent == [b"hello", b"\1"]
    call.arrive()
    assert call.sent == [b"hello", b"\1", b"\2"]
    assert not stream.counted


def test_a_stream_that_drains_ends_behind_its_last_message() -> None:
    call = FakeCall(3)
    stream = Numbers(call)
    stream._queue(1)
    stream._queue(2)
    stream.end()
    call.arrive()
    assert not stream.ends
    call.arrive()
    assert len(stream.ends) == 1


def test_what_cannot_be_encoded_ends_the_stream_once_and_counts_no_more() -> None:
    call = FakeCall(3)
    stream = Numbers(call)
    stream._queue(1)
    stream._queue(-1)
    assert stream.counted == [-1]
    assert [type(error) for error in stream.ends] == [OverflowError]


def test_all_count_no_more_once_the_caller_is_gone() -> None:
    call = FakeCall(2)
    stream = Numbers(call)
    for number in range(4):
        stream._queue(number)
    stream.leave()
    call.arrive(has_room=False)
    call.arrive(has_room=False)
    assert sorted(stream.counted) == list(range(4))
    assert len(call.sent) == 2


@pytest.mark.parametrize("max_sends", [1, 3])
def test_nothing_follows_what_has_ended_the_stream(max_sends: int) -> None:
    call = FakeCall(max_sends)
    stream = Numbers(call)
    for number in (1, -1, 2):
        stream._queue(number)
    call.arrive()
    stream._queue(3)
    assert call.sent == [bytes([1])]
    assert len(stream.ends) == 1
    stream.leave()
    assert sorted(stream.counted) == [-1, 1, 2, 3]
