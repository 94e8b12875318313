"""Callers that wait for room: who may go on does, who may not costs nothing."""

from hypothesis import given
from hypothesis import strategies as st

from elman_server.config.server_config import Limits
from elman_server.door.caller_limits import Caller, Callers

MAX_ROWS, MAX_BYTES = 12, 60
LIMITS = Limits(max_queue_rows=MAX_ROWS, max_queue_bytes=MAX_BYTES, max_caller_rows=8, max_caller_bytes=40)
Change = tuple[int, int, int, bool]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-6, 9), st.integers(-30, 45), st.booleans()), max_size=60))
def test_nobody_waits_who_has_room_and_nobody_goes_on_who_has_none(changes: list[Change]) -> None:
    callers, told, waits = Callers(LIMITS), list[int](), set[int]()
    everyone = [callers.enter(f"{i}") for i in range(5)]

    def go_on(i: int) -> None:
        assert not everyone[i].is_full
        told.append(i)
        waits.remove(i)

    for i, rows, num_bytes, asks in changes:
        caller = everyone[i]
        caller.add(max(rows, -caller.rows), max(num_bytes, -caller.num_bytes))
        if asks and caller.is_full and i not in waits:
            waits.add(i)
            caller.when_room(lambda i=i: go_on(i))  # type: ignore[misc]
        assert {j for j in waits if everyone[j].is_full} == waits
        assert len(callers.waiting) == len(waits)


def test_those_who_have_room_at_once_go_on_in_the_order_in_which_they_began_to_wait() -> None:
    callers, told = Callers(LIMITS), list[str]()
    one, other, third = (callers.enter(name) for name in ("one", "other", "third"))
    third.add(1, 0)
    for caller, rows in ((one, 5), (other, 4)):
        caller.add(rows, 0)
    for name, caller in (("one", one), ("other", other)):
        caller.when_room(lambda name=name: told.append(name))  # type: ignore[misc]
    third.add(-1, 0)
    assert told == ["one", "other"]


def test_room_for_one_asks_nobody_who_stays_full() -> None:
    callers = Callers(Limits())
    asked = list[Caller]()

    class Watched(Caller):
        @property
        def is_full(self) -> bool:
            asked.append(self)
            return super().is_full

    full = [Watched("watched", callers) for _ in range(100)]
    for caller in full:
        caller.add(4000, 0)
        caller.when_room(lambda: None)
    asked.clear()
    extra = callers.enter("x")
    extra.add(1, 0)
    extra.add(-1, 0)
    assert not asked
    assert len(callers.waiting) == len(full)
