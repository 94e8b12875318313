"""Sessions begun anew under ids of the caller's naming, over cuts too."""

from collections import deque
from collections.abc import Callable

import grpc
import numpy as np
import pytest
from leaky import leaky_sum

import elman
from elman.testing import FakeServer
from elman.testing._sessions_service import FakeSessionsService
from elman.v1 import sessions_pb2

X = np.random.default_rng(0).random((3, 2), np.float32)
UNHEARD, UNANSWERED, ANSWERED = "unheard", "unanswered", "answered"


@pytest.fixture(autouse=True)  # before the server starts, which then has it
def openings(monkeypatch: pytest.MonkeyPatch) -> deque[str | Callable[[], object]]:
    """What becomes of the next OpenSessions calls: how far they get, or what happens before they are answered."""
    fates: deque[str | Callable[[], object]] = deque()
    handle = FakeSessionsService.OpenSessions

    def open_sessions(
        service: FakeSessionsService, request: sessions_pb2.OpenSessionsRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.OpenSessionsResponse:
        fate = fates.popleft() if fates else ANSWERED
        if callable(fate):
            fate()
        if fate != UNHEARD:
            response = handle(service, request, context)
        if fate in (UNHEARD, UNANSWERED):
            context.abort(grpc.StatusCode.UNAVAILABLE, "cut by the test")
        return response

    monkeypatch.setattr(FakeSessionsService, "OpenSessions", open_sessions)
    return fates


def leave(client: elman.Client, server: FakeServer, *ids: str, is_expired: bool = False) -> None:
    """Sessions at position 3 that were let go of."""
    with client.model("sum").sessions(ids=ids) as pool:
        pool.step(np.stack([X] * len(ids), axis=1))
    for name in ids if is_expired else ():
        server.expire(name)


def test_an_id_that_expired_begins_at_0_where_it_is_to_be_new(client, server):
    leave(client, server, "user-1", is_expired=True)
    model = client.model("sum")
    with pytest.raises(elman.SessionExpiredError):
        model.session(id="user-1")
    with model.session(id="user-1", mode="new") as session:
        assert (session.id, session.position) == ("user-1", 0)
        assert np.array_equal(session.step(X), leaky_sum(X))
    with model.session(id="user-1") as session:
        assert session.position == 3


async def test_ids_that_expired_and_others_begin_at_0_together(aclient, client, server):
    leave(client, server, "a", "c", is_expired=True)
    async with (await aclient.model("sum")).sessions(ids=["a", "b", "c"], mode="new") as pool:
        assert pool.positions == (0, 0, 0)
        assert np.array_equal(await pool.step(X[:, np.newaxis].repeat(3, 1)), leaky_sum(X)[:, np.newaxis].repeat(3, 1))
    assert server.session_ids() == ["a", "b", "c"]


@pytest.mark.parametrize("steps", [0, 2])
async def test_an_id_that_lives_is_told_and_its_session_left_alone(aclient, steps):
    model = await aclient.model("sum")
    async with model.session(id="user-1", mode="new") as session:
        outputs = [await session.step(x) for x in X[:steps]]
        with pytest.raises(elman.SessionExistsError) as caught:
            await model.session(id="user-1", mode="new")
        assert caught.value.position == steps
        outputs += [await session.step(x) for x in X[steps:]]
        assert np.array_equal(outputs, leaky_sum(X))


def test_where_some_ids_live_they_are_told_and_no_other_is_left_behind(client, server):
    leave(client, server, "b")
    model = client.model("sum")
    with pytest.raises(elman.RowErrors) as caught:
        model.sessions(ids=["a", "b", "c"], mode="new")
    assert {row: type(error) for row, error in caught.value.errors.items()} == {1: elman.SessionExistsError}
    assert server.session_ids() == ["b"]
    assert server.position("b") == 3
    with model.sessions(ids=["a", "c"], mode="new") as pool:
        assert pool.positions == (0, 0)


def test_without_ids_all_are_new_anyway(client, server):
    model = client.model("sum")
    with model.session(mode="new") as session, model.sessions(2, mode="new") as pool:
        assert server.session_ids() == sorted([session.id, *pool.ids])
    assert server.session_ids() == []


@pytest.mark.parametrize(
    "fates",
    [
        [UNHEARD],
        [UNANSWERED],
        [UNHEARD, UNANSWERED, UNANSWERED],
        [UNANSWERED, ANSWERED, UNHEARD, UNANSWERED],  # the resuming is cut too
    ],
    ids="-".join,
)
async def test_what_was_begun_before_a_cut_is_the_callers_own(aclient, client, server, openings, fates):
    leave(client, server, "b", is_expired=True)
    model = await aclient.model("sum")
    openings.extend(fates)
    async with model.sessions(ids=["a", "b", "c"], mode="new") as pool:
        assert not openings
        assert pool.positions == (0, 0, 0)
        for step, row in ((0, 1), (1, 1), (0, 2), (2, 1), (0, 0)):  # each id is on its own row
            assert np.array_equal(await pool.step(X[step : step + 1], rows=[row]), leaky_sum(X[: step + 1])[-1:])
    assert [server.position(name) for name in pool.ids] == [1, 3, 1]


async def test_the_session_begun_before_a_cut_goes_on_with_its_one_caller(aclient, server, openings):
    openings.append(UNANSWERED)
    async with (await aclient.model("sum")).session(id="user-1", mode="new") as session:
        assert np.array_equal(await session.step(X), leaky_sum(X))
    assert server.session_ids() == ["user-1"]


def test_what_lives_is_left_alone_after_a_cut_too_and_what_was_begun_before_it_is_ended(client, server, openings):
    model = client.model("sum")
    with model.session(id="b") as session:
        outputs = [session.step(X[0])]
        openings.append(UNANSWERED)
        with pytest.raises(elman.RowErrors) as caught:
            model.sessions(ids=["a", "b", "c"], mode="new")
        assert not openings
        assert [(row, error.position) for row, error in caught.value.errors.items()] == [(1, 1)]
        outputs += [session.step(x) for x in X[1:]]  # with the handle that it had
        assert np.array_equal(outputs, leaky_sum(X))
    assert server.session_ids() == ["b"]


async def test_what_somebody_steps_before_it_is_resumed_is_not_taken(aclient, client, server, openings):
    model = await aclient.model("sum")
    openings.extend([UNANSWERED, ANSWERED, lambda: leave(client, server, "user-1")])
    with pytest.raises(elman.SessionExistsError):
        await model.session(id="user-1", mode="new")
    assert not openings
    assert server.position("user-1") == 3


async def test_what_ends_before_it_is_resumed_is_told_so(aclient, server, openings):
    model = await aclient.model("sum")
    openings.extend([UNANSWERED, ANSWERED, lambda: server.expire("user-1")])
    with pytest.raises(elman.SessionExpiredError):
        await model.session(id="user-1", mode="new")
    assert not openings


def test_what_may_have_begun_when_the_retries_were_spent_is_resumed(address, server, openings):
    with elman.Client(address, retry=None) as client:
        model = client.model("sum")
        openings.append(UNANSWERED)
        with pytest.raises(elman.UnavailableError):
            model.session(id="user-1", mode="new")
        with pytest.raises(elman.SessionExistsError):
            model.session(id="user-1", mode="new")
        with model.session(id="user-1") as session:
            assert session.position == 0


def test_what_was_begun_before_a_cut_is_not_told_as_resumed_and_what_has_steps_is(client, server, openings):
    leave(client, server, "b")
    openings.append(UNANSWERED)
    with client.model("sum").sessions(ids=["a", "b"]) as pool:
        assert not openings
        assert pool.resumed == (False, True)
        assert pool.positions == (0, 3)


def test_after_a_cut_what_somebody_may_have_begun_is_not_ended_where_the_opening_fails(client, server, openings):
    leave(client, server, "gone", is_expired=True)
    model = client.model("sum")
    model.session("untouched").close()
    openings.append(UNANSWERED)
    with pytest.raises(elman.RowErrors):
        model.sessions(ids=["untouched", "gone"])
    assert server.session_ids() == ["untouched"]


def test_sessions_that_were_ended_before_a_cut_are_ended(server, monkeypatch):
    handle, calls = FakeSessionsService.CloseSessions, []

    def close_sessions(
        service: FakeSessionsService, request: sessions_pb2.CloseSessionsRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.CloseSessionsResponse:
        response = handle(service, request, context)
        calls.append(list(request.session_ids))
        if len(calls) == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "cut by the test")
        return response

    monkeypatch.setattr(FakeSessionsService, "CloseSessions", close_sessions)
    with server as address, elman.Client(address) as other:
        model = other.model("sum")
        leave(other, server, "a", "b")
        model.end_sessions(["a", "b"])
        assert calls == [["a", "b"]] * 2
        assert server.session_ids() == []
