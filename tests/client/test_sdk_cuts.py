"""Over cuts each step is applied once, and outputs are those of an uncut run."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from leaky import leaky_sum

import elman


@pytest.mark.parametrize("seed", range(3))
async def test_hundreds_of_cuts_lose_no_step_and_apply_none_twice(aclient, server, seed):
    server.cut_at_random(0.1, times=150, seed=seed)
    server.slice(3)
    model = await aclient.model("sum")
    rng = np.random.default_rng(seed)

    async def follow(length: int) -> None:
        x = rng.random((length, 2), np.float32)
        ends = np.unique(np.append(rng.integers(1, length, 60), length))
        async with model.session() as session:
            chunks = np.split(x, ends[:-1])
            outputs = [output async for output in session.stream(chunks)]
            assert np.array_equal(np.concatenate(outputs), leaky_sum(x))
            assert server.position(session.id) == length

    await asyncio.gather(*(follow(300 + 10 * number) for number in range(6)))
    while server.num_cuts < 150:
        await follow(300)


async def test_a_pool_steps_through_cuts(aclient, server):
    server.cut_at_random(0.3, times=60)
    x = np.random.default_rng(0).random((100, 20, 2), np.float32)
    expected = np.stack([leaky_sum(x[:, row]) for row in range(20)], axis=1)
    async with (await aclient.model("sum")).sessions(20) as pool:
        for step in range(100):
            assert np.array_equal(await pool.step(x[step]), expected[step])
        assert {server.position(name) for name in pool.ids} == {100}
    assert server.num_cuts == 60


def test_threads_step_through_cuts(client, server):
    server.cut_at_random(0.1, times=50)
    model = client.model("sum")

    def follow(seed: int) -> None:
        x = np.random.default_rng(seed).random((60, 2), np.float32)
        with model.session() as session:
            outputs = [session.step(value) for value in x]
            assert np.array_equal(outputs, leaky_sum(x))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(follow, range(16)))


@pytest.mark.parametrize("forget_handles", [True, False])
async def test_a_cut_while_nothing_is_under_way_goes_unnoticed(aclient, server, forget_handles):
    model = await aclient.model("sum")
    async with model.session() as session, model.session() as other:
        for current in (session, other, session):
            await current.step([1, 0])
        server.cut(forget_handles=forget_handles)
        outputs = await asyncio.gather(session.step([1, 0]), session.step([1, 0]), other.step([1, 0]))
        assert [output[0] for output in outputs] == [1.75, 1.875, 1.5]
        assert (await other.step([1, 0]))[0] == 1.75
    assert server.num_streams == 2


async def test_a_restarted_server_that_kept_its_sessions_goes_unnoticed(aclient, server):
    async with (await aclient.model("sum")).session() as session:
        for step in range(4):
            assert (await session.step([1, 0]))[0] == leaky_sum([[1, 0]] * (step + 1))[-1, 0]
            await asyncio.to_thread(server.restart, keep_sessions=True)


async def test_steps_under_way_wait_for_a_server_that_comes_back(aclient, server):
    async with (await aclient.model("sum")).session() as session:
        await session.step([1, 0])
        await asyncio.to_thread(server.hold)
        steps = [asyncio.ensure_future(session.step([1, 0])) for _ in range(3)]
        await asyncio.to_thread(server.wait_for, lambda: len(server.frame_rows) >= 4)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        assert [output[0] for output in await asyncio.gather(*steps)] == [1.5, 1.75, 1.875]


async def test_sessions_that_a_restart_lost_are_told_as_unknown(aclient, server):
    model = await aclient.model("sum")
    lost, kept = await model.session(), await model.session(id="kept")
    await asyncio.gather(lost.step([1, 0]), kept.step([1, 0]))
    await asyncio.to_thread(server.restart)
    kept_again = await model.session(id="kept")
    with pytest.raises(elman.UnknownSessionError):
        await lost.step([1, 0])
    assert (await kept_again.step([1, 0])).tolist() == [1, 0]
    with pytest.raises(elman.UnknownSessionError):
        await lost.step([1, 0])
    await lost.close()


@pytest.mark.parametrize("seed", range(4))
async def test_without_retries_a_cut_is_told_and_the_next_step_goes_on_from_where_the_session_is(server, seed):
    with server as address:
        async with (
            elman.AsyncClient(address, retry=None) as client,
            (await client.model("sum")).session() as session,
        ):
            await session.step([1, 0])
            server.cut_at_random(0.5, times=1, seed=seed)
            with pytest.raises(elman.UnavailableError, match="cut by the test"):
                await _step_for_ever(session)
            await asyncio.gather(session.step([1, 0]), session.step([1, 0]))
            assert session.position == server.position(session.id)


async def test_no_server_is_told_once_retries_are_spent():
    retry = elman.Retry(max_attempts=3, initial_backoff_seconds=0.001)
    async with elman.AsyncClient("127.0.0.1:1", retry=retry) as client:
        with pytest.raises(elman.UnavailableError):
            await client.model("sum")


async def test_steps_fail_once_retries_are_spent(server):
    with server as address:
        retry = elman.Retry(max_attempts=3, initial_backoff_seconds=0.001)
        async with elman.AsyncClient(address, retry=retry) as client:
            session = await (await client.model("sum")).session()
            await session.step([1, 0])
            await asyncio.to_thread(server.stop)
            with pytest.raises(elman.UnavailableError):
                await session.step([1, 0])
            await asyncio.to_thread(server.start)
            while not await client.is_ready():
                pass  # the channel dials again when it has waited
            assert (await session.step([1, 0])).tolist() == [1.5, 0]
            await session.close()


async def _step_for_ever(session: elman.AsyncSession) -> None:
    while True:
        await session.step([[1, 0]] * 2)
