"""Calls on many sessions on their way to the engine, a slice at a time; what the engine ends, slice by slice."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import numpy as np
import pytest
from stepped_engine import SteppedEngine
from toys import toy
from until import until

from elman_server.engine.calls.opening import Opening
from elman_server.exchange import slices
from elman_server.exchange.session_calls.calls import OpenMode
from elman_server.exchange.slices import Slices, each_slice, slices_of

SLICE = 4


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", SLICE)


class HeldEngine:
    """Notes what it is asked, and does one thing of it when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self.done: list[Any] = []

    def call(self, function: Callable[[], Any]) -> "asyncio.Future[Any]":
        self.asked.append((function, asyncio.get_running_loop().create_future()))
        return self.asked[-1][1]

    async def do(self, count: int) -> None:
        """The next `count` things, one after the other."""
        for _ in range(count):
            await until(lambda: self.asked)
            function, future = self.asked.pop(0)
            self.done.append(function())
            if not future.done():
                future.set_result(self.done[-1])
            await settled()


async def settled() -> None:
    """All that can go on has."""
    for _ in range(20):
        await asyncio.sleep(0)


async def long_call(way: Slices, name: str, count: int) -> list[str]:
    return [await way.call(SLICE, lambda: name) for _ in range(count)]


def under_way(call: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
    return asyncio.get_running_loop().create_task(call)


def way_to(engine: HeldEngine) -> Slices:
    return Slices(cast(Any, engine))


async def test_long_calls_take_turns() -> None:
    engine = HeldEngine()
    way = way_to(engine)
    calls = [under_way(long_call(way, name, 3)) for name in "abc"]
    await engine.do(9)
    assert "".join(engine.done) == "abcabcabc"
    assert [await call for call in calls] == [["a"] * 3, ["b"] * 3, ["c"] * 3]


async def test_the_engine_has_no_more_than_a_slice_in_hand() -> None:
    engine = HeldEngine()
    way = way_to(engine)
    calls = [under_way(way.call(1, lambda i=i: i)) for i in range(2 * SLICE)]  # type: ignore[misc]
    calls += [under_way(long_call(way, "long", 1))]
    await settled()
    assert len(engine.asked) == SLICE
    await engine.do(1)
    assert len(engine.asked) == SLICE
    await engine.do(2 * SLICE - 1)
    assert len(engine.asked) == 1
    await engine.do(1)
    assert engine.done == [*range(2 * SLICE), "long"]
    await asyncio.gather(*calls)


async def test_who_is_cancelled_while_it_waits_has_not_called_and_the_others_go_on() -> None:
    engine = HeldEngine()
    way = way_to(engine)
    first, leaving, last = (under_way(long_call(way, name, 2)) for name in ("first", "leaving", "last"))
    await settled()
    leaving.cancel()
    await engine.do(4)
    assert engine.done == ["first", "last", "first", "last"]
    await asyncio.gather(first, last)


async def test_a_slice_of_who_is_cancelled_counts_until_the_engine_has_done_it() -> None:
    engine = HeldEngine()
    way = way_to(engine)
    leaving, staying = under_way(long_call(way, "leaving", 2)), under_way(long_call(way, "staying", 1))
    await settled()
    leaving.cancel()
    await settled()
    assert len(engine.asked) == 1
    await engine.do(2)
    assert engine.done == ["leaving", "staying"]
    assert await staying == ["staying"]


async def test_an_error_is_told_to_its_caller_and_the_next_goes_on() -> None:
    engine = HeldEngine()
    way = way_to(engine)
    failing, other = under_way(long_call(way, "failing", 1)), under_way(long_call(way, "other", 1))
    await settled()
    engine.asked.pop(0)[1].set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await failing
    await engine.do(1)
    assert await other == ["other"]


def test_slots_are_done_a_slice_a_turn_of_the_engine() -> None:
    stepped = SteppedEngine(toy("lstm"))
    done: list[list[int]] = []
    each_slice(stepped.engine, np.arange(10), lambda slots: done.append(slots.tolist()), lambda: done.append([]))
    for turn, sizes in enumerate([[4], [4, 4], [4, 4, 2, 0], [4, 4, 2, 0]]):
        assert [len(slots) for slots in done] == sizes, f"after turn {turn}"
        stepped.pump()
    assert [slot for slots in done for slot in slots] == list(range(10))


def test_the_idle_expire_a_slice_a_turn_and_who_is_used_meanwhile_stays() -> None:
    stepped = SteppedEngine(toy("lstm"), max_sessions=16, idle_timeout_seconds=50)
    ids = [f"s{i}" for i in range(10)]
    stepped.open(*ids)
    stepped.clock.time += 50
    stepped.expiry.look(stepped.clock.now())
    assert len(stepped.positions()) == 6
    stepped.directory.open("me", [ids[-1]], OpenMode.RESUME, "", stepped.clock.now())  # before the next turn
    stepped.expiry.look(stepped.clock.now())  # a look meanwhile begins nothing anew
    stepped.pump()
    assert len(stepped.positions()) == 2
    stepped.pump()
    assert list(stepped.positions()) == [ids[-1]]
    stepped.clock.time += 50
    stepped.expiry.look(stepped.clock.now())
    assert not stepped.positions()
    stepped.assert_nothing_left()


@pytest.mark.parametrize("when_full", ["evict", "refuse"])
def test_a_call_keeps_what_it_has_opened_at_the_session_limit(when_full: str) -> None:
    stepped = SteppedEngine(toy("lstm"), max_sessions=10, when_full=when_full)
    stepped.open("older", "old")
    stepped.clock.time += 1
    opening, errors = Opening(stepped.directory, "me", OpenMode.NEW, "", stepped.clock), []
    for ids in slices_of([f"s{i}" for i in range(15)]):
        opened = opening.open(ids)
        errors += [opened.errors[i].reason if i in opened.errors else "" for i in range(len(ids))]
        stepped.clock.time += 1
    num_opened = 10 if when_full == "evict" else 8
    assert errors == [""] * num_opened + ["LIMIT_REACHED"] * (15 - num_opened)
    assert {f"s{i}" for i in range(num_opened)} <= stepped.positions().keys()
