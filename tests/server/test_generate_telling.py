"""Who listens to generations is told a few at a time, and of an end at once."""

from collections.abc import Callable
from typing import cast

from elman_server.engine.engine import Engine
from elman_server.errors import ServiceError
from elman_server.generating.telling import AT_ONCE, MESSAGES_PER_SECOND, Telling


class Listener:
    def __init__(self, number: int, told: list[int]) -> None:
        self._number = number
        self._told = told

    def notify(self) -> None:
        self._told.append(self._number)

    def fail(self, error: ServiceError) -> None:
        raise AssertionError(error)


class Calls:
    """An engine and its way to the loop: what is posted runs on `turn`, what is due later on `wait`."""

    def __init__(self) -> None:
        self.loop_calls = self
        self.seconds: list[float] = []
        self._posted: list[Callable[[], None]] = []
        self._later: list[Callable[[], None]] = []

    def post(self, function: Callable[[], None]) -> None:
        self._posted.append(function)

    def put(self, function: Callable[[], None]) -> None:
        function()

    def put_later(self, seconds: float, function: Callable[[], None]) -> None:
        self.seconds.append(seconds)
        self._later.append(function)

    def turn(self) -> None:
        posted, self._posted = self._posted, []
        for function in posted:
            function()

    def wait(self) -> None:
        later, self._later = self._later, []
        for function in later:
            function()
        self.turn()


def test_listeners_are_told_in_their_order_a_few_at_a_time() -> None:
    calls, told = Calls(), list[int]()
    telling = Telling(cast(Engine, calls))
    listeners = [Listener(number, told) for number in range(AT_ONCE + 2)]
    telling.later(listeners)
    assert told == []
    calls.turn()
    assert told == list(range(AT_ONCE))
    telling.later(listeners[:1])  # it stands behind those that wait, and is told once however often there is more
    telling.later(listeners[:1])
    calls.turn()
    assert len(told) == AT_ONCE
    calls.wait()
    assert told[AT_ONCE:] == [AT_ONCE, AT_ONCE + 1, 0]
    assert calls.seconds == [AT_ONCE / MESSAGES_PER_SECOND, 3 / MESSAGES_PER_SECOND]


def test_whoever_comes_when_nobody_was_told_lately_is_told_in_the_next_turn() -> None:
    calls, told = Calls(), list[int]()
    telling, listener = Telling(cast(Engine, calls)), Listener(1, told)
    for count in range(1, 4):
        telling.later([listener])
        calls.turn()
        assert told == [1] * count
        calls.wait()


def test_an_end_is_told_at_once_and_only_once() -> None:
    calls, told = Calls(), list[int]()
    telling, listener = Telling(cast(Engine, calls)), Listener(1, told)
    telling.later([listener])
    telling.at_once(listener)
    assert told == [1]
    calls.turn()
    calls.wait()
    assert told == [1]
