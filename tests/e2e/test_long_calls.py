"""Calls on many sessions, on a running server: others' steps come between, and each id is answered for itself."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from engine_gate import EngineGate
from refusals import Refusal, refusal_of
from served import Serve, Served
from stepped_engine import FakeClock
from toys import SPECS, random_input
from until import until

from elman.v1 import models_pb2
from elman.v1 import sessions_pb2 as pb
from elman_server.engine.calls.sessions import SessionCalls
from elman_server.exchange import slices
from elman_server.models.directory import SessionDirectory

SLICE, NUM_SLICES = 4, 5
COUNT = SLICE * NUM_SLICES
IDS = [f"s{i}" for i in range(COUNT)]
GUARD_SECONDS = 120
RNG = np.random.default_rng(31)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", SLICE)


async def open_ids(served: Served) -> Any:
    return await served.sessions.OpenSessions(pb.OpenSessionsRequest(model="gru", session_ids=IDS))


async def open_count(served: Served) -> Any:
    return await served.sessions.OpenSessions(pb.OpenSessionsRequest(model="gru", count=COUNT))


async def close_last(served: Served) -> Any:
    return await served.sessions.CloseSessions(pb.CloseSessionsRequest(model="gru", session_ids=IDS[-SLICE:]))


async def attach(served: Served) -> Any:
    return await served.sessions.AttachSessions(pb.AttachSessionsRequest(model="gru", session_ids=IDS))


async def close(served: Served) -> Any:
    return await served.sessions.CloseSessions(pb.CloseSessionsRequest(model="gru", session_ids=IDS))


async def list_page(served: Served) -> Any:
    return await served.sessions.ListSessions(pb.ListSessionsRequest(model="gru", page_size=COUNT))


async def unload(served: Served) -> Any:
    return await served.models.UnloadModel(models_pb2.UnloadModelRequest(model="gru"))


async def expire(served: Served) -> None:
    await served.expire()
    await until(lambda: served.runtime("gru").next_expiry < np.inf)


async def listed(served: Served) -> list[str]:
    """All sessions' ids."""
    page = await served.sessions.ListSessions(pb.ListSessionsRequest(model="gru", page_size=1000))
    assert not page.next_page_token
    return [session.session_id for session in page.sessions]


class AnswerOrder:
    """Notes the engine's slices and batches. Where the event loop hands slices over a batch waits until the next has
    been: so the engine has both to choose from."""

    def __init__(self, served: Served, patch: pytest.MonkeyPatch, where: type, slice_: str) -> None:
        self.noted: list[str] = []
        self._are_handed_over = slice_ != "end"
        self._handed_over = threading.Semaphore(0)
        engine, stack = served.server.door.engine, served.runtime("lstm").stack
        self._post, self._step, self._slice = engine.post, stack.step, getattr(where, slice_)
        patch.setattr(engine, "post", self.post)
        patch.setattr(stack, "step", self.step)
        turns = self

        def noted(*args: Any, **options: Any) -> Any:
            turns.noted.append("slice")
            return turns._slice(*args, **options)

        patch.setattr(where, slice_, noted)

    def post(self, function: Callable[[], None]) -> None:
        self._post(function)
        self._handed_over.release()

    def step(self, *args: Any, **options: Any) -> Any:
        if self._are_handed_over and self.noted.count("slice") < NUM_SLICES:
            assert self._handed_over.acquire(timeout=GUARD_SECONDS)
        self.noted.append("batch")
        return self._step(*args, **options)


@pytest.mark.parametrize(
    ("call", "are_open", "where", "slice_"),
    [
        (open_ids, False, SessionDirectory, "open"),
        (open_count, False, SessionDirectory, "open"),
        (attach, True, SessionDirectory, "open"),
        (close, True, SessionCalls, "close"),
        (list_page, True, SessionCalls, "page"),
        (unload, True, SessionDirectory, "end"),
        (expire, True, SessionDirectory, "end"),
    ],
)
async def test_others_steps_come_between_the_slices(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, call: Any, are_open: bool, where: type, slice_: str
) -> None:
    served = await serve("gru", "lstm", max_slice=4, clock=FakeClock())
    served.server.door.engine.periodic_jobs.jobs.clear()  # done when the test says so
    if are_open:
        await open_ids(served)
    served.clock.time += 5000  # longer than a session may be idle
    opened, stepper = await served.open("lstm", count=1), await served.step()
    turns = AnswerOrder(served, monkeypatch, where, slice_)
    async with EngineGate(served) as engine_gate:
        ask = await stepper.send(opened.handles, [random_input(SPECS["lstm"], RNG, 4 * 4 * NUM_SLICES)])
        await engine_gate.arrived(1)
        calling = asyncio.ensure_future(call(served))
        await engine_gate.arrived(2)
    await calling
    await stepper.finish(ask)
    between = "".join({"slice": "S", "batch": "b"}[what] for what in turns.noted)
    assert between.count("S") == NUM_SLICES
    assert "SS" not in between, between


class Hold:
    """Holds the engine as it begins the third slice of a call, until it is let go."""

    def __init__(self, patch: pytest.MonkeyPatch, where: type, slice_: str) -> None:
        self.num_begun = 0
        self._slice = getattr(where, slice_)
        self._go_on = threading.Event()
        hold = self

        def held(*args: Any, **options: Any) -> Any:
            hold.num_begun += 1
            if hold.num_begun == 3:
                assert hold._go_on.wait(GUARD_SECONDS)
            return hold._slice(*args, **options)

        patch.setattr(where, slice_, held)

    async def reached(self) -> None:
        """Returns when the engine is held."""
        await until(lambda: self.num_begun == 3)

    def let_go(self) -> None:
        """The engine goes on, and is not held again."""
        self._go_on.set()


def calls(served: Served, method: str, code: str) -> float:
    """How many the server has served so."""
    labels = {"method": method, "code": code}
    return served.server.metrics.registry.get_sample_value("elman_requests_total", labels) or 0


@pytest.mark.parametrize(
    ("call", "method", "are_open", "where", "slice_"),
    [
        (open_ids, "OpenSessions", False, SessionDirectory, "open"),
        (close, "CloseSessions", True, SessionCalls, "close"),
    ],
)
async def test_a_caller_that_goes_away_leaves_the_rest_undone(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    call: Any,
    method: str,
    are_open: bool,
    where: type,
    slice_: str,
) -> None:
    served = await serve("gru")
    if are_open:
        await open_ids(served)
    hold = Hold(monkeypatch, where, slice_)
    leaving = asyncio.ensure_future(call(served))
    await hold.reached()
    leaving.cancel()
    await until(lambda: calls(served, method, "CANCELLED"))
    hold.let_go()
    done = IDS[: 3 * SLICE]
    assert await listed(served) == ([i for i in IDS if i not in done] if are_open else done)
    again = await call(served)
    assert [error.index for error in again.errors] == list(range(3 * SLICE))
    assert sorted(await listed(served)) == ([] if are_open else sorted(IDS))


async def test_two_calls_that_open_the_same_ids_at_once_get_each_id_once(serve: Serve) -> None:
    served = await serve("gru")
    answers = await asyncio.gather(*(open_ids(served) for _ in range(3)))
    handles = [[answer.handles[i] for answer in answers if answer.handles[i]] for i in range(COUNT)]
    assert [len(handles_of_one) for handles_of_one in handles] == [1] * COUNT
    for answer in answers:
        assert [error.index for error in answer.errors] == [i for i in range(COUNT) if not answer.handles[i]]
        assert {Refusal.of(error.status).reason for error in answer.errors} <= {"SESSION_EXISTS"}
    data = [random_input(SPECS["gru"], RNG, 1)] * COUNT
    ask = await (await served.step()).ask([one for (one,) in handles], data)
    assert [row.position for row in ask.rows] == [1] * COUNT
    assert await listed(served) == IDS


async def test_each_id_has_its_own_error_wherever_it_stands(serve: Serve) -> None:
    served = await serve("gru", max_sessions=COUNT - 2)
    there = [IDS[3], IDS[4], IDS[17]]
    await served.open("gru", *there)
    opened = await open_ids(served)
    reasons = {error.index: Refusal.of(error.status).reason for error in opened.errors}
    exist, full = dict.fromkeys((3, 4, 17), "SESSION_EXISTS"), dict.fromkeys((18, 19), "LIMIT_REACHED")
    assert reasons == exist | full
    assert list(opened.session_ids) == IDS
    assert [bool(handle) for handle in opened.handles] == [i not in reasons for i in range(COUNT)]
    assert [bool(version) for version in opened.versions] == [i not in reasons for i in range(COUNT)]
    closed = await close(served)
    assert [error.index for error in closed.errors] == [18, 19]
    assert len(closed.positions) == COUNT


async def test_a_model_unloaded_meanwhile_fails_the_ids_whose_turn_comes_later(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve("gru", "lstm")
    hold = Hold(monkeypatch, SessionDirectory, "open")
    opening = asyncio.ensure_future(open_ids(served))
    await hold.reached()
    unloading = asyncio.ensure_future(unload(served))
    await until(lambda: served.server.models._leaving)
    hold.let_go()
    opened = await opening
    await unloading
    assert [error.index for error in opened.errors] == list(range(3 * SLICE, COUNT))
    assert {Refusal.of(error.status).reason for error in opened.errors} <= {"DRAINING", "UNKNOWN_MODEL"}
    assert list(opened.positions) == [0] * COUNT
    await served.open("lstm", count=COUNT)


async def test_what_is_wrong_with_a_call_is_told_before_anything_is_done(serve: Serve) -> None:
    served = await serve("gru")
    for wrong, says in ((IDS[0], "repeated"), ("", "1 to 128")):
        request = pb.OpenSessionsRequest(model="gru", session_ids=[*IDS, wrong])
        refusal = await refusal_of(served.sessions.OpenSessions(request))
        assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_INPUT")
        assert says in refusal.message
    assert await listed(served) == []


async def test_a_close_of_many_is_answered_when_all_have_ended(serve: Serve) -> None:
    served = await serve("gru", max_slice=4)
    opened, stepper = await open_ids(served), await served.step()
    async with EngineGate(served) as engine_gate:
        await stepper.send(opened.handles[:2], [random_input(SPECS["gru"], RNG, length) for length in (30, 9)])
        await engine_gate.arrived(1)
        closing = asyncio.ensure_future(close(served))
        await engine_gate.arrived(2)
    closed = await closing
    assert not closed.errors
    assert list(closed.positions) == [30, 9] + [0] * (COUNT - 2)
    assert await listed(served) == []


async def test_sessions_that_end_with_their_model_are_remembered_whichever_slice_they_are_in(serve: Serve) -> None:
    served = await serve("gru", "lstm")
    await open_ids(served)
    await unload(served)
    await served.models.LoadModel(models_pb2.LoadModelRequest(model="gru"))
    attached = await attach(served)
    assert {Refusal.of(error.status).says["cause"] for error in attached.errors} == {"drained"}
    assert len(attached.errors) == COUNT


async def test_a_session_that_is_closed_while_its_model_is_unloaded_ends_once(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve("gru", "lstm")
    await open_ids(served)
    hold = Hold(monkeypatch, SessionDirectory, "end")
    unloading = asyncio.ensure_future(unload(served))
    await hold.reached()
    calling = asyncio.ensure_future(close_last(served))
    await until(lambda: served.server.door.engine._inbox._items)
    hold.let_go()
    assert not (await calling).errors
    await unloading
    await served.models.LoadModel(models_pb2.LoadModelRequest(model="gru"))
    reasons = {error.index: Refusal.of(error.status).reason for error in (await attach(served)).errors}
    assert list(reasons.values()) == ["SESSION_EXPIRED"] * (COUNT - SLICE) + ["UNKNOWN_SESSION"] * SLICE


async def test_a_page_larger_than_a_slice_is_full(serve: Serve) -> None:
    served = await serve("gru")
    await open_ids(served)
    request, found = pb.ListSessionsRequest(model="gru", page_size=SLICE + 3), []
    while True:
        page = await served.sessions.ListSessions(request)
        found.append([session.session_id for session in page.sessions])
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    assert [len(ids) for ids in found] == [7, 7, 6]
    assert [session_id for ids in found for session_id in ids] == IDS
