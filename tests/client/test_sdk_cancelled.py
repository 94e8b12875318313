"""A call that the server ends as CANCELLED, as gRPC does with those that come while it stops, is cut; a call that this
side cancels is cancelled.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np
import pytest
from leaky import leaky_sum

import elman
from elman.testing import FakeModel, FakeServer
from elman.testing._inference_service import FakeInference
from elman.testing._models_service import FakeModels
from elman.testing._sessions_service import FakeSessionsService

X = np.random.default_rng(0).random((8, 2), np.float32)
UNARY: dict[str, Callable[..., Awaitable[object]]] = {
    "ListModels": lambda client, model, session: client.models(),
    "DescribeModel": lambda client, model, session: client.model("sum"),
    "Infer": lambda client, model, session: model.infer(X),
    "OpenSessions": lambda client, model, session: model.session(),
    "DescribeSession": lambda client, model, session: session.state(),
    "CloseSessions": lambda client, model, session: session.close(),
}


@pytest.fixture
def endings(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many calls of each method are yet to be ended as CANCELLED."""
    left: Counter[str] = Counter()
    for service in (FakeModels, FakeSessionsService, FakeInference):
        for method in [name for name in vars(service) if name[0].isupper()]:
            monkeypatch.setattr(service, method, _ended(left, method, getattr(service, method)))
    return left


def _ended(left: Counter[str], method: str, handle: Callable[..., object]) -> Callable[..., object]:
    def ended(service: object, request: object, context: grpc.ServicerContext) -> object:
        if left[method]:
            left[method] -= 1
            context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")
        return handle(service, request, context)

    return ended


@pytest.mark.parametrize("method", UNARY)
async def test_calls_that_the_server_ends_are_tried_again(endings, aclient, method):
    model = await aclient.model("sum")
    session = await model.session()
    endings[method] = 3
    await UNARY[method](aclient, model, session)
    assert endings[method] == 0


def test_calls_of_threads_that_the_server_ends_are_tried_again(endings, client, server):
    endings.update(DescribeModel=2, Infer=2, OpenSessions=2, Step=2, DescribeSession=2, CloseSessions=2)
    model = client.model("sum")
    assert np.array_equal(model.infer(X)[0], leaky_sum(X))
    with model.session() as session:
        assert np.array_equal(session.step(X), leaky_sum(X))
        assert session.state().position == len(X)
    assert server.session_ids() == []
    assert endings.total() == 0


async def test_steps_go_on_when_the_server_ends_streams_and_attaching(endings, aclient, server):
    async with (await aclient.model("sum")).session() as session:
        endings["Step"] = 2
        outputs = [await session.step(x) for x in X[:4]]
        server.cut(forget_handles=True)
        endings.update(Step=2, AttachSessions=2)
        outputs += await asyncio.gather(*map(session.step, X[4:]))
        assert np.array_equal(outputs, leaky_sum(X))
        assert server.position(session.id) == len(X)
    assert endings.total() == 0


@pytest.mark.parametrize("attempts", [1, 3])
async def test_a_server_that_ends_all_calls_is_given_up_on_at_the_retrys_limit(endings, server, attempts):
    retry = elman.Retry(max_attempts=attempts, initial_backoff_seconds=0.001)
    with server as address:
        async with elman.AsyncClient(address, retry=retry) as client:
            model = await client.model("sum")
            session = await model.session()
            for method, call in (("Infer", model.infer), ("Step", session.step)):
                endings[method] = attempts
                with pytest.raises(elman.UnavailableError):
                    await call(X)
                assert endings[method] == 0
                await call(X)
            await session.close()


@pytest.mark.parametrize("is_closed", [True, False])
async def test_what_the_caller_cancels_or_closes_while_it_waits_for_another_try_is_not_tried_again(
    endings, server, monkeypatch, is_closed
):
    waits = asyncio.Event()

    def backoff_seconds(*_: object) -> float:
        waits.set()
        return 3600.0

    monkeypatch.setattr(elman.Retry, "backoff_seconds", backoff_seconds)
    with server as address:
        async with elman.AsyncClient(address) as client:
            model = await client.model("sum")
            endings["Infer"] = 2
            infer = asyncio.ensure_future(model.infer(X))
            await waits.wait()
            await _give_up(infer, client, is_closed)
    assert endings["Infer"] == 1


@pytest.mark.parametrize("is_closed", [True, False])
async def test_what_the_caller_cancels_or_closes_while_the_server_is_at_it_is_not_tried_again(is_closed):
    begun, goes_on = threading.Semaphore(0), threading.Event()

    def wait(values: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        begun.release()
        goes_on.wait(30)
        return values, state

    with FakeServer([FakeModel(step=wait)]) as address:
        async with elman.AsyncClient(address) as client:
            infer = asyncio.ensure_future((await client.model("fake")).infer([[1]]))
            assert await asyncio.to_thread(begun.acquire, timeout=30)
            await _give_up(infer, client, is_closed)
            goes_on.set()
            assert not await asyncio.to_thread(begun.acquire, timeout=0.2)


async def _give_up(call: asyncio.Future[Any], client: elman.AsyncClient, is_closed: bool) -> None:
    if is_closed:
        await client.close()
    else:
        call.cancel()
    with pytest.raises(elman.ClosedError if is_closed else asyncio.CancelledError):
        async with asyncio.timeout(60):  # else what goes on waiting, an hour say, would keep the tests waiting too
            await call
