"""Steps submitted together travel together."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from leaky import leaky_sum


async def test_coroutines_that_step_at_the_same_time_share_frames(aclient, server):
    model = await aclient.model("sum")
    sessions = [await model.session() for _ in range(64)]
    x = np.random.default_rng(0).random((10, 64, 2), np.float32)

    async def follow(number: int) -> None:
        outputs = [await sessions[number].step(value) for value in x[:, number]]
        assert np.array_equal(outputs, leaky_sum(x[:, number]))

    await asyncio.gather(*map(follow, range(64)))
    assert sum(server.frame_rows) == 640
    assert len(server.frame_rows) <= 20
    assert server.num_streams == 1


async def test_chunks_of_different_lengths_and_models_are_sorted_into_frames(aclient, server):
    xs = [np.random.default_rng(length).random((length, 2), np.float32) for length in (1, 5, 2, 5, 3)]
    sessions = [await (await aclient.model(name)).session() for name in ("sum", "lstm") for _ in xs]
    outputs = await asyncio.gather(*(session.step(x) for session, x in zip(sessions, xs * 2, strict=True)))
    for x, output in zip(xs * 2, outputs, strict=True):
        assert np.array_equal(output, leaky_sum(x))
    assert server.frame_rows == [5, 5]


async def test_while_frames_are_under_way_more_chunks_gather(aclient, server):
    model = await aclient.model("sum")
    sessions = [await model.session() for _ in range(34)]
    server.hold()
    steps = []
    for number, session in enumerate(sessions[:2]):
        steps.append(asyncio.ensure_future(session.step([1, 0])))
        await asyncio.to_thread(server.wait_for, lambda number=number: len(server.frame_rows) == number + 1)
    for session in sessions[2:]:
        steps.append(asyncio.ensure_future(session.step([1, 0])))
        await asyncio.sleep(0)
    server.release()
    await asyncio.gather(*steps)
    assert server.frame_rows == [1, 1, 32]


async def test_a_long_chunk_holds_nobody_up(aclient, server):
    model = await aclient.model("sum")
    sessions = [await model.session() for _ in range(3)]
    server.hold()
    long = [asyncio.ensure_future(session.step(np.ones((100, 2)))) for session in sessions[:2]]
    await asyncio.to_thread(server.wait_for, lambda: server.frame_rows == [2])
    short = asyncio.ensure_future(sessions[2].step([1, 0]))
    await asyncio.to_thread(server.wait_for, lambda: server.frame_rows == [2, 1])
    server.release()
    await asyncio.gather(*long, short)


async def test_chunks_of_one_session_submitted_together_are_applied_in_order(aclient, server):
    async with (await aclient.model("sum")).session() as session:
        x = np.random.default_rng(0).random((30, 2), np.float32)
        outputs = await asyncio.gather(*(session.step(value) for value in x))
        assert np.array_equal(outputs, leaky_sum(x))


async def test_one_session_keeps_as_many_chunks_in_flight_as_the_server_holds_answers_for(aclient, server):
    async with (await aclient.model("sum")).session() as session:
        server.hold()
        steps = [asyncio.ensure_future(session.step([1, 0])) for _ in range(20)]
        await asyncio.to_thread(server.wait_for, lambda: len(server.frame_rows) == 8)
        server.release()
        await asyncio.gather(*steps)
        assert server.frame_rows == [1] * 20


def test_sixteen_threads_share_one_stream_and_frames(client, server):
    model = client.model("sum")
    sessions = [model.session() for _ in range(16)]
    server.hold()
    barrier = threading.Barrier(17)

    def follow(number: int) -> None:
        x = np.random.default_rng(number).random((20, 2), np.float32)
        barrier.wait()
        outputs = [sessions[number].step(value) for value in x]
        assert np.array_equal(outputs, leaky_sum(x))
        assert sessions[number].state().position == 20

    with ThreadPoolExecutor(16) as threads:
        done = [threads.submit(follow, number) for number in range(16)]
        barrier.wait()
        server.wait_for(lambda: len(server.frame_rows) > 0)
        server.release()
        for future in done:
            future.result()
    assert server.num_streams == 1
    assert sum(server.frame_rows) == 320
    assert len(server.frame_rows) < 320


def test_threads_may_step_one_session(client, server):
    with client.model("sum").session() as session:
        with ThreadPoolExecutor(8) as threads:
            outputs = list(threads.map(lambda _: session.step([1, 0])[0], range(40)))
        assert sorted(outputs) == leaky_sum([[1, 0]] * 40)[:, 0].tolist()
