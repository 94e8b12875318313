"""Streams of chunks."""

import asyncio

import numpy as np
import pytest
from leaky import leaky_sum

import elman

X = np.random.default_rng(0).random((50, 2), np.float32)


def test_outputs_come_in_order(client):
    with client.model("sum").session() as session:
        outputs = list(session.stream(np.split(X, [3, 4, 20, 30])))
        assert [len(output) for output in outputs] == [3, 1, 16, 10, 20]
        assert np.array_equal(np.concatenate(outputs), leaky_sum(X))


def test_single_steps_stream_too(client):
    with client.model("sum").session() as session:
        assert np.array_equal(list(session.stream(iter(X), returning="last")), leaky_sum(X))


async def test_several_chunks_are_in_flight(aclient, server):
    async with (await aclient.model("sum")).session() as session:
        server.hold()
        stream = session.stream(X)
        first = asyncio.ensure_future(anext(stream))
        await asyncio.to_thread(server.wait_for, lambda: len(server.frame_rows) == 8)
        server.release()
        outputs = [await first, *[output async for output in stream]]
        assert np.array_equal(outputs, leaky_sum(X))


async def test_as_few_as_asked_for_are_in_flight(aclient, server):
    pulled = 0

    def chunks():
        nonlocal pulled
        for value in X:
            pulled += 1
            yield value

    async with (await aclient.model("sum")).session() as session:
        seen = 0
        async for _ in session.stream(chunks(), max_in_flight=2):
            seen += 1
            assert pulled <= seen + 1
        assert seen == 50


async def test_an_async_source_that_waits_for_outputs_gets_them(aclient):
    answers: asyncio.Queue[np.ndarray] = asyncio.Queue()

    async def dialogue():
        for value in X:
            yield value
            await answers.get()

    async with (await aclient.model("sum")).session() as session:
        outputs = []
        async for output in session.stream(dialogue()):
            outputs.append(output)
            answers.put_nowait(output)
        assert np.array_equal(outputs, leaky_sum(X))


@pytest.mark.parametrize("is_async", [True, False])
async def test_what_a_source_raises_comes_after_the_outputs_before_it(aclient, is_async):
    def chunks():
        yield X[0]
        raise RuntimeError("the microphone fell")

    async def achunks():
        for chunk in chunks():
            yield chunk

    async with (await aclient.model("sum")).session() as session:
        stream = session.stream(achunks() if is_async else chunks())
        assert np.array_equal(await anext(stream), X[0])
        with pytest.raises(RuntimeError, match="the microphone fell"):
            await anext(stream)
        assert session.position == 1


async def test_a_stream_may_be_left_and_the_session_stepped_on(aclient, server):
    async with (await aclient.model("sum")).session() as session:
        async for _ in session.stream(X):
            break
        begin = session.position
        assert np.array_equal(await session.step(X[begin]), leaky_sum(X)[begin])


def test_a_bad_chunk_ends_the_stream_where_it_is(client):
    with client.model("sum").session() as session:
        stream = session.stream([X[0], X[1], [1, 2, 3]], max_in_flight=1)
        assert np.array_equal(next(stream), X[0])
        next(stream)
        with pytest.raises(elman.InvalidInputError):
            next(stream)
        assert session.position == 2
