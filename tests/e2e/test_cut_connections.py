"""The SDK over a connection that is cut at random moments, thousands of times."""

import asyncio
import os
import random
from collections.abc import AsyncIterator

import numpy as np
import pytest
from cutting_proxy import CuttingProxy
from numpy.typing import NDArray
from served import Serve
from toys import assert_near, toy

import elman

NUM_CUTS = int(os.environ.get("TEST_CUTS", "2000"))
NUM_CLIENTS = 6
SESSIONS_PER_CLIENT = 2
OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 1),
    ("grpc.min_reconnect_backoff_ms", 1),
    ("grpc.max_reconnect_backoff_ms", 20),
)
RETRY = elman.Retry(max_attempts=200, initial_backoff_seconds=0.001, max_backoff_seconds=0.01)


async def test_over_thousands_of_cuts_outputs_equal_an_uncut_run_and_each_step_is_applied_once(serve: Serve) -> None:
    served = await serve("lstm")
    address = served.server.address
    async with CuttingProxy(address, mean_bytes=3000, seed=5) as proxy, asyncio.TaskGroup() as group:
        for number in range(NUM_CLIENTS):
            group.create_task(_run_client(proxy, number))
    assert proxy.num_cuts >= NUM_CUTS


async def _run_client(proxy: CuttingProxy, number: int) -> None:
    async with elman.AsyncClient(proxy.address, retry=RETRY, options=OPTIONS) as client:
        model = await client.model("lstm")
        async with asyncio.TaskGroup() as group:
            for k in range(SESSIONS_PER_CLIENT):
                group.create_task(_stream_until_enough(model, proxy, number * SESSIONS_PER_CLIENT + k))


async def _stream_until_enough(model: elman.AsyncModel, proxy: CuttingProxy, number: int) -> None:
    random_source = random.Random(number)
    numpy_source = np.random.default_rng(number)
    sent: list[NDArray[np.float32]] = []

    async def chunks() -> AsyncIterator[NDArray[np.float32]]:
        while proxy.num_cuts < NUM_CUTS:
            steps = random_source.choice((1, 1, 1, 2, 3, 40))
            sent.append(numpy_source.standard_normal((steps, model.info.input_size)).astype(np.float32))
            yield sent[-1]

    session = await model.session()
    outputs = [output async for output in session.stream(chunks())]
    whole = np.concatenate(sent)
    assert_near(np.concatenate(outputs), toy("lstm").run(whole)[0])
    proxy.is_cutting = False
    assert (await session.state()).position == len(whole)


@pytest.mark.parametrize("seed", range(3))
async def test_a_pool_steps_through_cuts_as_if_there_were_none(serve: Serve, seed: int) -> None:
    served = await serve("lstm")
    source = np.random.default_rng(seed)
    inputs = source.standard_normal((120, 16, 3)).astype(np.float32)
    async with CuttingProxy(served.server.address, mean_bytes=4000, seed=seed) as proxy:
        async with elman.AsyncClient(proxy.address, retry=RETRY, options=OPTIONS) as client:
            model = await client.model("lstm")
            pool = await model.sessions(16)
            outputs = np.stack([await pool.step(step) for step in inputs])
        assert proxy.num_cuts > 5
    for row in range(16):
        assert_near(outputs[:, row], toy("lstm").run(inputs[:, row].copy())[0])
