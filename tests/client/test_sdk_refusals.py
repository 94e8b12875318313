"""What the server refuses for now, and what fails for good."""

import asyncio
import copy
import pickle
import threading
from datetime import UTC, datetime, timedelta

import grpc
import numpy as np
import pytest
from leaky import leaky_sum

import elman
import elman.testing
from elman.v1 import sessions_pb2, sessions_pb2_grpc


async def test_a_frame_refused_for_now_is_sent_again_in_order(aclient, server):
    model = await aclient.model("sum")
    x = np.random.default_rng(0).random((40, 2), np.float32)
    sessions = [await model.session() for _ in range(5)]
    server.refuse(7)

    async def follow(session: elman.AsyncSession) -> None:
        outputs = [output async for output in session.stream(x[:, np.newaxis])]
        assert np.array_equal(np.concatenate(outputs), leaky_sum(x))

    await asyncio.gather(*map(follow, sessions))
    assert server.num_streams == 1


async def test_a_refusal_without_a_time_to_try_again_is_told(aclient, server):
    async with (await aclient.model("sum")).session() as session:
        server.refuse(1, retry_after_seconds=None)
        with pytest.raises(elman.LimitReachedError) as caught:
            await session.step([1, 0])
        assert (caught.value.limit, caught.value.retry_after_seconds) == ("queue_rows", None)
        assert (await session.step([1, 0])).tolist() == [1, 0]


async def test_a_server_that_stays_full_is_told_and_nothing_is_applied(server):
    with server as address:
        async with elman.AsyncClient(address, retry=elman.Retry(max_attempts=3)) as client:
            session = await (await client.model("sum")).session()
            server.refuse(100)
            steps = [session.step([value, 0]) for value in range(3)]
            results = await asyncio.gather(*steps, return_exceptions=True)
            assert {type(result) for result in results} <= {elman.LimitReachedError, elman.PredecessorFailedError}
            server.refuse(0)
            assert (await session.step([1, 0])).tolist() == [1, 0]
            assert server.position(session.id) == session.position == 1


async def test_chunks_behind_a_failed_one_are_not_applied(aclient, server):
    async with (await aclient.model("sum")).session() as session:
        await session.step([1, 0])
        steps = [session.step([value, 0]) for value in (np.nan, 2, 3)]
        first, *others = await asyncio.gather(*steps, return_exceptions=True)
        assert isinstance(first, elman.InvalidInputError)
        assert all(isinstance(other, elman.PredecessorFailedError) for other in others)
        assert session.position == server.position(session.id) == 1
        assert (await session.step([1, 0])).tolist() == [1.5, 0]


async def test_an_expired_session_says_where_and_when_it_ended(aclient, server):
    model = await aclient.model("sum")
    session = await model.session(id="user-1")
    await session.step([[1, 0]] * 3)
    server.expire("user-1")
    for call in (lambda: model.session(id="user-1"), lambda: session.step([1, 0]), session.state):
        with pytest.raises(elman.SessionExpiredError, match=r"expired at .*, at position 3; open it as NEW") as caught:
            await call()
        assert caught.value.position == 3
        assert abs(datetime.now(UTC) - caught.value.end_time) < timedelta(minutes=1)
    server.cut(forget_handles=True)
    with pytest.raises(elman.SessionExpiredError):
        await session.step([1, 0])
    await session.close()


async def test_the_handle_of_an_expired_session_is_stale_once_its_id_begins_anew(aclient, address, server):
    session = await (await aclient.model("sum")).session(id="user-1")
    await session.step([1, 0])
    server.expire("user-1")
    request = sessions_pb2.OpenSessionsRequest(model="sum", session_ids=["user-1"], mode=sessions_pb2.OPEN_MODE_NEW)
    async with grpc.aio.insecure_channel(address) as channel:
        await sessions_pb2_grpc.SessionsStub(channel).OpenSessions(request)
    with pytest.raises(elman.StaleHandleError):
        await session.step([1, 0])
    assert server.position("user-1") == 0


async def test_a_session_that_another_client_attached_is_not_fought_over(aclient, server):
    async with (await aclient.model("sum")).session(id="shared") as session:
        await session.step([1, 0])
        server.steal("shared")
        for _ in range(2):
            with pytest.raises(elman.StaleHandleError):
                await session.step([1, 0])
        assert server.position("shared") == 1


async def test_a_session_that_another_client_stepped_is_not_continued_silently(aclient, address, server):
    model = await aclient.model("sum")
    session = await model.session(id="shared")
    await session.step([1, 0])
    async with elman.AsyncClient(address) as other, (await other.model("sum")).session(id="shared") as theirs:
        assert theirs.position == 1
        await theirs.step([[5, 0]] * 2)
    await asyncio.to_thread(server.restart, keep_sessions=True)
    with pytest.raises(elman.PositionError) as caught:
        await session.step([1, 0])
    assert (caught.value.position, caught.value.given) == (3, 1)
    assert session.position == 3


async def test_an_unknown_model_is_told_with_those_that_exist(aclient):
    with pytest.raises(elman.UnknownModelError, match="loaded: both-ways, lstm"):
        await aclient.model("nothing")
    with pytest.raises(elman.UnknownModelError):
        await aclient.model("sum", "2")


async def test_the_session_limit_says_when_to_try_again(aclient):
    model = await aclient.model("small")
    held = [await model.session(), await model.session()]
    with pytest.raises(elman.LimitReachedError) as caught:
        await model.session()
    assert caught.value.limit == "max_sessions"
    assert caught.value.retry_after_seconds == pytest.approx(0.01)
    await held[0].close()
    await model.session()


async def test_credentials_are_asked_for_and_sent():
    with elman.testing.FakeServer(token="secret") as address:
        for token in (None, "wrong"):
            async with elman.AsyncClient(address, token=token) as client:
                with pytest.raises(elman.AuthenticationError):
                    await client.models()
        async with (
            elman.AsyncClient(address, token="secret") as client,
            (await client.model("fake")).session() as session,
        ):
            assert (await session.step([1])).tolist() == [1]


async def test_a_server_that_does_not_answer_is_given_up_on_and_the_step_stays_counted(aclient, server):
    async with (await aclient.model("sum")).session() as session:
        server.hold()
        with pytest.raises(elman.DeadlineError, match="may still be applied") as caught:
            await session.step([1, 0], timeout=0.01)
        assert isinstance(caught.value, TimeoutError)
        server.release()
        assert (await session.step([1, 0])).tolist() == [1.5, 0]


async def test_cancelling_a_call_does_not_undo_its_step(aclient, server):
    async with (await aclient.model("sum")).session() as session:
        server.hold()
        step = asyncio.ensure_future(session.step([1, 0]))
        await asyncio.to_thread(server.wait_for, lambda: len(server.frame_rows) == 1)
        step.cancel()
        server.release()
        assert (await session.step([1, 0])).tolist() == [1.5, 0]
        assert session.position == 2


def test_errors_survive_copying_and_pickling():
    details = elman.ErrorDetails("NOT_FOUND", "SESSION_EXPIRED", {"position": "3"})
    error = elman.SessionExpiredError("gone", details)
    group = elman.RowErrors({2: error}, np.zeros(3))
    deadline = elman.DeadlineError("late", details)
    assert (str(copy.copy(deadline)), copy.copy(deadline).details) == ("late", details)
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(twin), str(twin), twin.position) == (elman.SessionExpiredError, "gone", 3)
    assert pickle.loads(pickle.dumps(group)).errors[2].position == 3
    assert "1 rows failed, the first is row 2: gone" in str(copy.copy(group))


def test_while_the_server_loads_its_models_it_is_not_ready_and_a_call_that_may_not_wait_says_why(server, address):
    server.begin_loading()
    with elman.Client(address, retry=None) as client:
        assert not client.is_ready()
        with pytest.raises(elman.UnavailableError, match="loads its models") as caught:
            client.model("sum")
        assert caught.value.details.reason == "LOADING"
        server.end_loading()
        assert client.is_ready("sum")
        assert client.model("sum").info.name == "sum"


def test_a_call_waits_until_the_server_has_loaded_its_models(server, client, monkeypatch):
    server.begin_loading()
    refused = threading.Event()
    state_class = type(server._server_state)
    check_loaded = state_class.check_loaded

    def check(state):
        try:
            check_loaded(state)
        finally:
            refused.set()

    monkeypatch.setattr(state_class, "check_loaded", check)

    def end_loading_after_a_refusal() -> None:
        refused.wait()
        server.end_loading()

    thread = threading.Thread(target=end_loading_after_a_refusal)
    thread.start()
    with client.model("sum").session() as session:
        assert session.step([1, 0]).tolist() == [1, 0]
    thread.join()
