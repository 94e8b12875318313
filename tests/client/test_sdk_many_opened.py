"""More sessions than one call opens, and a server that is lost in between: all are open, or none is left behind."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable

import grpc
import numpy as np
import pytest
from leaky import leaky_sum

import elman
from elman.testing import FakeModel, FakeServer
from elman.testing._models_service import FakeModels
from elman.testing._sessions_service import FakeSessionsService

X = np.random.default_rng(0).random((3, 2), np.float32)
Fate = Callable[[], object]


def lost() -> None:
    """The call reaches no server."""
    raise ConnectionError


def answered() -> None:
    """The call is answered."""


class Calls:
    """What becomes of the next calls of a method, before they are handled; and how many of them have ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str, kind: type = FakeSessionsService) -> None:
        self.fates: deque[Fate] = deque()
        self._num_ended = threading.Semaphore(0)
        handle = getattr(kind, method)

        def call(service: object, request: object, context: grpc.ServicerContext) -> object:
            try:
                (self.fates.popleft() if self.fates else answered)()
                return handle(service, request, context)
            except ConnectionError:
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut by the test")
            finally:
                self._num_ended.release()

        monkeypatch.setattr(kind, method, call)

    def wait(self) -> None:
        """Until one more has ended."""
        assert self._num_ended.acquire(timeout=60)


@pytest.fixture(autouse=True)  # before the server starts, which then has them
def opening(monkeypatch: pytest.MonkeyPatch) -> Calls:
    monkeypatch.setattr("elman._calls.session_opener.IDS_PER_CALL", 2)
    return Calls(monkeypatch, "OpenSessions")


@pytest.fixture(autouse=True)
def ending(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch, "CloseSessions")


@pytest.fixture
def hasty(address: str):
    """A client that does not try again."""
    with elman.Client(address, retry=None, timeout=60) as client:
        yield client


def leave(server: FakeServer, *ids: str) -> None:
    """Sessions at position 3 that were let go of."""
    with elman.Client(server.address) as client, client.model("sum").sessions(ids=ids) as pool:
        pool.step(np.stack([X] * len(ids), axis=1))


def num_rows_free(client: elman.Client | elman.AsyncClient) -> int:
    return len(client._core.driver.table._free)


def test_what_was_begun_before_the_server_was_lost_is_ended(hasty, server, opening, ending):
    model, before = hasty.model("sum"), num_rows_free(hasty)
    opening.fates.extend([answered, answered, lost])
    with pytest.raises(elman.UnavailableError):
        model.sessions(7)
    ending.wait()
    assert server.session_ids() == []
    assert num_rows_free(hasty) == before


def test_what_existed_before_is_let_go_of_and_not_ended(hasty, server, opening, ending):
    leave(server, "b")
    opening.fates.extend([answered, lost])
    with pytest.raises(elman.UnavailableError):
        hasty.model("sum").sessions(ids=["a", "b", "c"])
    ending.wait()
    assert server.session_ids() == ["b"]
    assert server.position("b") == 3


def test_new_sessions_that_cannot_be_ended_at_once_are_ended_after_the_next_opening(hasty, server, opening, ending):
    model = hasty.model("sum")
    opening.fates.extend([answered, lost])
    ending.fates.append(lost)
    with pytest.raises(elman.UnavailableError):
        model.sessions(3)
    ending.wait()
    assert len(server.session_ids()) == 2
    with model.sessions(3) as pool:
        ending.wait()
        assert server.session_ids() == sorted(pool.ids)


def test_names_that_cannot_be_ended_at_once_are_left_to_who_names_them_again(hasty, server, opening, ending):
    model = hasty.model("sum")
    opening.fates.extend([answered, lost])
    ending.fates.append(lost)
    with pytest.raises(elman.UnavailableError):
        model.sessions(ids=["a", "b", "c"])
    ending.wait()
    with model.sessions(ids=["a", "b", "c"]) as pool:
        assert np.array_equal(pool.step(np.stack([X] * 3, 1)), np.stack([leaky_sum(X)] * 3, 1))
    assert server.session_ids() == ["a", "b", "c"]


async def test_what_was_begun_before_the_caller_went_away_is_ended(aclient, server, opening, ending):
    model, before = await aclient.model("sum"), num_rows_free(aclient)
    loop, is_asked, may_go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def late() -> None:
        loop.call_soon_threadsafe(is_asked.set)
        assert may_go_on.wait(60)
        lost()

    opening.fates.extend([answered, late])
    task = asyncio.ensure_future(model.sessions(3).__aenter__())
    await is_asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(ending.wait)
    may_go_on.set()
    assert server.session_ids() == []
    assert num_rows_free(aclient) == before


@pytest.mark.parametrize("mode", ["new", "resume_or_new"])
@pytest.mark.parametrize("keeps", [False, True])
async def test_where_another_process_takes_over_in_between_all_are_opened_there(aclient, server, opening, keeps, mode):
    model = await aclient.model("sum")
    loop, is_asked, is_back = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def lost_with_its_process() -> None:
        loop.call_soon_threadsafe(is_asked.set)
        assert is_back.wait(60)
        lost()

    opening.fates.extend([answered, answered, lost_with_its_process])
    ids = ["a", "b", "c", "d", "e"]
    task = asyncio.ensure_future(model.sessions(ids=ids, mode=mode).__aenter__())
    await is_asked.wait()
    await asyncio.to_thread(server.restart, keep_sessions=keeps)
    is_back.set()
    async with await task as pool:
        assert pool.ids == tuple(ids)
        assert pool.resumed == (False,) * 5
        assert np.array_equal(await pool.step(np.stack([X] * 5, 1)), np.stack([leaky_sum(X)] * 5, 1))
    assert server.session_ids() == ids


def test_a_session_whose_model_cannot_be_described_is_let_go_of(monkeypatch):
    describing = Calls(monkeypatch, "DescribeModel", FakeModels)
    server = FakeServer([FakeModel("sum", version, input_size=2) for version in ("1", "2")])
    with server as address, elman.Client(address, retry=None) as client:
        client.model("sum", "1").session("user-1").close()
        model, before = client.model("sum"), num_rows_free(client)
        describing.fates.append(lost)
        with pytest.raises(elman.UnavailableError):
            model.session("user-1")
        assert num_rows_free(client) == before
        assert server.session_ids() == ["user-1"]
