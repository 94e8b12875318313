"""An AsyncClient belongs to the event loop that first used it."""

import asyncio
import contextlib

import pytest

import elman

REMEDY = "make one in each asyncio.run and thread, or use elman.Client"


@pytest.fixture(params=["an ended loop", "another thread's loop"])
def elsewhere(request, address):
    """A client, model, session and pool that a loop used which is not the one that runs now."""

    async def use() -> tuple[elman.AsyncClient, elman.AsyncModel, elman.AsyncSession, elman.AsyncSessionPool]:
        client = elman.AsyncClient(address)
        model = await client.model("sum")
        session, pool = await model.session(id="mine"), await model.sessions(2)
        await session.step([1, 0])
        return client, model, session, pool

    runner = asyncio.Runner()
    with contextlib.ExitStack() as stack:
        used = runner.run(use())
        if request.param == "an ended loop":
            runner.close()
        else:
            stack.callback(runner.close)
            stack.callback(lambda: runner.run(used[0].close()))
        yield used


def test_every_call_in_another_loop_says_what_to_do(elsewhere):
    client, model, session, pool = elsewhere

    async def stream() -> None:
        async for _ in session.stream([[1, 0]]):
            pass

    for call in (
        client.models,
        client.is_ready,
        lambda: client.model("sum"),
        lambda: model.infer([[1, 0]]),
        lambda: _awaited(model.session()),
        lambda: _awaited(model.sessions(2)),
        lambda: session.step([1, 0]),
        lambda: pool.step([[1, 0]] * 2),
        stream,
        session.state,
    ):
        with pytest.raises(elman.LoopError, match=REMEDY):
            asyncio.run(_in_time(call()))


def test_closing_what_an_ended_loop_used_is_quiet_and_then_it_is_closed(address):
    async def use() -> elman.AsyncClient:
        client = elman.AsyncClient(address)
        await client.models()
        return client

    async def close(client: elman.AsyncClient) -> None:
        await client.close()
        with pytest.raises(elman.ClosedError):
            await client.models()

    asyncio.run(close(asyncio.run(use())))


async def _awaited(opening):
    return await opening


async def _in_time(call):
    async with asyncio.timeout(30):
        return await call
