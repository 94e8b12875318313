"""A time limit is kept while the server is held up, away, or deaf: the call ends, the server still as it was.

No test looks at a clock: what a call waited for tells. Where the server is held it is let go only after the call.
"""

import asyncio
import socket
from collections.abc import Iterator

import numpy as np
import pytest

import elman
from elman._shared.deadline import Deadline
from elman._stepping import answers
from elman._stepping.answers import loop_future, thread_future
from elman.testing import FakeServer

SOON = 0.02
GUARD_SECONDS = 60
X = np.ones((3, 2), np.float32)


@pytest.fixture
def deaf() -> Iterator[str]:
    """An address where connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def held(server: FakeServer, address: str) -> Iterator[FakeServer]:
    yield server
    server.release()


def test_threads_wait_for_a_held_server_no_longer_than_they_want(client, held):
    model = client.model("sum")
    session, pool, other = model.session(), model.sessions(2), model.session()
    held.hold()
    for call in (
        lambda: session.step(X, timeout=SOON),
        lambda: list(session.stream([X, X], timeout=SOON)),
        lambda: pool.step(np.ones((1, 2, 2)), timeout=SOON),
        lambda: other.step(X, timeout=SOON),
    ):
        with pytest.raises(elman.DeadlineError):
            call()


async def test_coroutines_wait_for_a_held_server_no_longer_than_they_want(aclient, held):
    model = await aclient.model("sum")
    session, pool = await model.session(), await model.sessions(2)
    held.hold()

    async def stream() -> None:
        async for _ in session.stream([X, X], timeout=SOON):
            pass

    for call in (
        lambda: session.step(X, timeout=SOON),
        stream,
        lambda: pool.step(np.ones((1, 2, 2)), timeout=SOON),
    ):
        with pytest.raises(elman.DeadlineError):
            async with asyncio.timeout(GUARD_SECONDS):
                await call()


async def test_state_and_closing_wait_for_steps_under_way_within_the_clients_limit(address, held):
    async with elman.AsyncClient(address) as client:
        model = await client.model("sum")
        session, pool = await model.session(), await model.sessions(2)
        held.hold()
        client._core.transport.timeout_seconds = 0.3  # which opening them may have taken
        steps = [asyncio.ensure_future(session.step(X, timeout=GUARD_SECONDS))]
        steps.append(asyncio.ensure_future(pool.step(np.ones((1, 2, 2)), timeout=GUARD_SECONDS)))
        await asyncio.sleep(0)
        for call in (session.state, session.close, pool.close):
            with pytest.raises(elman.DeadlineError):
                async with asyncio.timeout(GUARD_SECONDS):
                    await call()
        held.release()
        await asyncio.gather(*steps)


@pytest.mark.parametrize("kind", ["deaf", "away"])
def test_threads_wait_for_a_server_that_does_not_answer_no_longer_than_they_want(deaf, kind):
    target = deaf if kind == "deaf" else "127.0.0.1:1"
    with elman.Client(target, timeout=0.05, retry=elman.Retry(max_elapsed_seconds=3600)) as client:
        for call in (client.models, lambda: client.model("sum")):
            with pytest.raises((elman.DeadlineError, elman.UnavailableError)):
                call()
        assert not client.is_ready()


@pytest.mark.parametrize("kind", ["step", "stream", "infer", "session", "state", "pool"])
def test_a_server_that_went_away_is_waited_for_no_longer_than_wanted(server, kind):
    with server as address, elman.Client(address, retry=elman.Retry(max_elapsed_seconds=3600)) as client:
        model = client.model("sum")
        session, pool = model.session(), model.sessions(2)
        session.step(X)
        server.stop()
        client._core.transport.timeout_seconds = 0.2  # which opening them may have taken; of calls that take none
        call = {
            "step": lambda: session.step(X, timeout=0.2),
            "stream": lambda: list(session.stream([X], timeout=0.2)),
            "infer": lambda: model.infer(X, timeout=0.2),
            "session": model.session,
            "state": session.state,
            "pool": lambda: pool.step(np.ones((1, 2, 2)), timeout=0.2),
        }[kind]
        with pytest.raises((elman.DeadlineError, elman.UnavailableError)):
            call()


def test_a_deadline_counts_from_when_it_was_made(monkeypatch):
    moment = 100.0
    monkeypatch.setattr("elman._shared.deadline.time.monotonic", lambda: moment)
    deadline = Deadline.after(5.0)
    moment = 103.0
    assert deadline.left_seconds() == 2.0
    moment = 106.0
    assert deadline.left_seconds() == 0.001


@pytest.mark.parametrize("count", [1, 2])
def test_threads_wait_exactly_as_long_as_they_were_told(monkeypatch, count):
    asked: list[float | None] = []
    wait = answers.concurrent.futures.wait
    monkeypatch.setattr(
        answers.concurrent.futures, "wait", lambda futures, timeout: asked.append(timeout) or wait(futures, timeout)
    )
    futures = [thread_future() for _ in range(count)]
    with pytest.raises(elman.DeadlineError, match=r"within 0\.01 s"):
        answers.wait_answers(futures, 0.01)
    assert asked in ([0.01], [])


async def test_coroutines_wait_exactly_as_long_as_they_were_told(monkeypatch):
    asked: list[float | None] = []
    timeout = asyncio.timeout
    monkeypatch.setattr(asyncio, "timeout", lambda seconds: asked.append(seconds) or timeout(seconds))
    with pytest.raises(elman.DeadlineError):
        await answers.await_answers([loop_future()], 0.01)
    assert asked == [0.01]
