"""Sessions by their ids: opened in each mode, ended and listed, on the fake server and on a real one."""

from datetime import UTC, datetime, timedelta

import grpc
import numpy as np
import pytest
from any_server import reload, unloaded
from leaky import leaky_sum

import elman
from elman.testing import FakeServer
from elman.testing._sessions_service import FakeSessionsService
from elman.v1 import sessions_pb2

X = np.random.default_rng(0).random((3, 2), np.float32)
OPENING = ("resume_or_new", "resume")


def ids_of(model: elman.Model) -> list[str]:
    return sorted(session.id for session in model.list_sessions())


def test_a_caller_sees_whether_a_session_was_resumed_or_begun(any_client, new_id):
    model = any_client.model("sum")
    for expected in (False, True, True):  # at position 0 and after it
        with model.session(new_id) as session:
            assert session.resumed is expected
            session.step(X)
    with model.session(new_id, mode="resume") as session:
        assert (session.resumed, session.position) == (True, 9)
    with model.session(f"{new_id}-other", mode="new") as session, model.session() as nameless:
        assert (session.resumed, nameless.resumed) == (False, False)


def test_a_session_that_was_never_stepped_is_resumed_all_the_same(any_client, new_id):
    model = any_client.model("sum")
    model.session(new_id).close()
    with model.session(new_id) as session:
        assert (session.resumed, session.position) == (True, 0)


async def test_of_a_pool_each_id_is_told(any_aclient, new_id):
    model = await any_aclient.model("sum")
    ids = [f"{new_id}-{number}" for number in range(3)]
    async with model.session(ids[1]):
        pass
    async with model.sessions(ids=ids) as pool:
        assert pool.resumed == (False, True, False)
    async with model.sessions(ids=ids, mode="resume") as pool:
        assert pool.resumed == (True, True, True)
    async with model.sessions(2) as pool:
        assert pool.resumed == (False, False)


def test_resuming_what_is_not_there_is_an_error_and_begins_nothing(any_client, new_id):
    model = any_client.model("sum")
    with pytest.raises(elman.UnknownSessionError, match=new_id):
        model.session(new_id, mode="resume")
    with model.session(f"{new_id}-lives"), pytest.raises(elman.RowErrors) as caught:
        model.sessions(ids=[f"{new_id}-lives", new_id], mode="resume")
    assert {row: type(error) for row, error in caught.value.errors.items()} == {1: elman.UnknownSessionError}
    assert ids_of(model) == [f"{new_id}-lives"]


def test_where_some_ids_ended_none_of_the_others_is_begun(any_client, any_server, new_id):
    model = any_client.model("sum")
    model.session(new_id).close()
    reload(any_server.address, "sum")
    with pytest.raises(elman.RowErrors) as caught:
        model.sessions(ids=[f"{new_id}-a", new_id, f"{new_id}-b"])
    assert {row: type(error) for row, error in caught.value.errors.items()} == {1: elman.SessionExpiredError}
    assert ids_of(model) == []


@pytest.mark.parametrize("mode", OPENING)
def test_what_ended_with_its_model_never_silently_begins_again(any_client, any_server, new_id, mode):
    model = any_client.model("sum")
    with model.session(new_id) as session:
        session.step(X)
    reload(any_server.address, "sum")
    with pytest.raises(elman.SessionExpiredError, match="unloaded") as caught:
        model.session(new_id, mode=mode)
    assert caught.value.position == 3
    with model.session(new_id, mode="new") as session:
        assert (session.resumed, session.position) == (False, 0)
        assert np.allclose(session.step(X), leaky_sum(X))


def test_a_live_session_whose_model_was_unloaded_and_loaded_raises_at_every_step(any_client, any_server, new_id):
    with any_client.model("sum").session(new_id) as session, any_client.model("sum").sessions(2) as pool:
        session.step(X)
        pool.step(X[:, np.newaxis].repeat(2, 1))
        reload(any_server.address, "sum")
        for _ in range(2):
            with pytest.raises(elman.SessionExpiredError, match="unloaded"):
                session.step(X)
            with pytest.raises(elman.SessionExpiredError):
                session.state()
            with pytest.raises(elman.RowErrors) as caught:
                pool.step(X[:, np.newaxis].repeat(2, 1))
            assert {type(error) for error in caught.value.errors.values()} == {elman.SessionExpiredError}
        assert session.position == 3


@pytest.mark.parametrize("retry", [None, elman.Retry()], ids=["without retries", "with retries"])
def test_a_live_session_of_a_server_that_restarted_raises_at_every_step(any_server, new_id, retry):
    with elman.Client(any_server.address, retry=retry, timeout=60) as client:
        session = client.model("sum").session(new_id)
        session.step(X)
        any_server.restart()
        for _ in range(3):
            with pytest.raises((elman.UnknownSessionError, elman.UnavailableError)):
                session.step(X)
        with pytest.raises(elman.UnknownSessionError):
            session.step(X)
        with pytest.raises(elman.UnknownSessionError):
            session.state()
        session.close()
        with client.model("sum").session(new_id) as again:
            assert (again.resumed, again.position) == (False, 0)


@pytest.mark.parametrize("is_unsure", [False, True], ids=["answered", "unanswered"])
def test_a_live_session_does_not_go_on_in_another_of_its_id_that_began_after_a_restart(any_server, new_id, is_unsure):
    with elman.Client(any_server.address, retry=None, timeout=60) as client, elman.Client(any_server.address) as other:
        session = client.model("sum").session(new_id)
        session.step(X)
        any_server.kill()
        if is_unsure:
            with pytest.raises(elman.UnavailableError):
                session.step(X)
        any_server.restart()
        with other.model("sum").session(new_id) as again:
            with pytest.raises((elman.PositionError, elman.UnavailableError)) as caught:
                session.step(X)
            if isinstance(caught.value, elman.UnavailableError):  # the connection of before
                with pytest.raises(elman.PositionError):
                    session.step(X)
            assert other.model("sum").session(new_id).state().position == again.position == 0


def test_ending_a_session_frees_its_id_whoever_named_it(any_client, new_id):
    model = any_client.model("sum")
    with model.session(new_id) as session, model.session() as nameless:
        session.step(X)
        session.end()
        nameless.end()
        assert ids_of(model) == []
        with pytest.raises(elman.ClosedError):
            session.step(X)
        with pytest.raises(elman.ClosedError, match="end_sessions"):
            session.end()
        assert session.position == 3
    with pytest.raises(elman.UnknownSessionError):
        model.session(new_id, mode="resume")
    with model.session(new_id) as session:
        assert (session.resumed, session.position) == (False, 0)


async def test_ending_a_pool_ends_all_its_sessions_after_what_is_under_way(any_aclient, new_id):
    model = await any_aclient.model("sum")
    pool = await model.sessions(ids=[f"{new_id}-a", f"{new_id}-b"])
    await pool.step(X[:, np.newaxis].repeat(2, 1))
    await pool.end()
    assert pool.positions == (3, 3)
    assert [session.id async for session in model.list_sessions()] == []
    await pool.close()
    with pytest.raises(elman.ClosedError):
        await pool.end()


def test_ending_what_is_gone_already_is_as_good(any_client, any_server):
    session, pool = any_client.model("sum").session("gone"), any_client.model("sum").sessions(2)
    any_client.model("sum").end_sessions(["gone"])
    session.end()
    reload(any_server.address, "sum")
    pool.end()


def test_sessions_that_ended_with_their_model_are_left_quietly(any_client, any_server):
    model = any_client.model("sum")
    with model.session() as session, model.sessions(2), unloaded(any_server.address, "sum"):
        session.end()
        with pytest.raises(elman.UnknownModelError):
            model.end_sessions(["any"])
    with model.sessions(2) as pool, unloaded(any_server.address, "sum"):
        pool.close()


def test_sessions_are_ended_by_id_and_those_that_do_not_exist_are_told(any_client, new_id):
    model = any_client.model("sum")
    ids = [f"{new_id}-{number}" for number in range(3)]
    model.sessions(ids=ids).close()
    model.end_sessions(ids[:1])
    with pytest.raises(elman.RowErrors) as caught:
        model.end_sessions(ids)
    assert {row: type(error) for row, error in caught.value.errors.items()} == {0: elman.UnknownSessionError}
    assert ids_of(model) == []


def test_ending_by_id_ends_what_a_caller_holds(any_client, new_id):
    with any_client.model("sum").session(new_id) as session:
        any_client.model("sum").end_sessions([new_id])
        with pytest.raises(elman.StaleHandleError, match='mode="resume"') as caught:
            session.step(X)
        assert new_id in str(caught.value)
        assert "attach again" not in str(caught.value)


def test_a_listed_session_is_described(any_client, new_id):
    before = datetime.now(UTC) - timedelta(seconds=2)
    with any_client.model("sum").session(new_id) as session:
        session.step(X)
        (info,) = any_client.model("sum").list_sessions()
    assert (info.id, info.model, info.version, info.position, info.admitted) == (new_id, "sum", "1", 3, 3)
    assert before < info.create_time <= info.use_time < info.expire_time


async def test_many_sessions_are_listed_page_by_page_each_once(any_aclient, new_id):
    model = await any_aclient.model("sum")
    ids = [f"{new_id}-{number}" for number in range(2500)]
    async with model.sessions(ids=ids):
        assert sorted([session.id async for session in model.list_sessions()]) == sorted(ids)
        async for session in model.list_sessions():
            assert session.id in ids
            break


def test_a_page_is_asked_for_when_it_is_needed(monkeypatch):
    handle, tokens = FakeSessionsService.ListSessions, []

    def list_sessions(
        service: FakeSessionsService, request: sessions_pb2.ListSessionsRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.ListSessionsResponse:
        tokens.append(request.page_token)
        return handle(service, request, context)

    monkeypatch.setattr(FakeSessionsService, "ListSessions", list_sessions)
    with FakeServer() as address, elman.Client(address) as client:
        model = client.model("fake")
        with model.sessions(1500):
            listed = model.list_sessions()
            assert not tokens
            for _ in range(1000):
                next(listed)
            assert len(tokens) == 1
            assert len(list(listed)) == 500
            assert len(tokens) == 2


def test_sessions_of_another_model_are_not_listed(any_client, new_id):
    with any_client.model("sum").session(new_id):
        assert ids_of(any_client.model("lstm")) == []
