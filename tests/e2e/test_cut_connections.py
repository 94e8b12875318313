"""The SDK over a connection that is cut at random moments, thousands of times."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from cutting_proxy import CuttingProxy
from numpy.typing import NDArray
from served import Serve
from toys import SPECS, assert_near, random_input, toy

import elman

NUM_CUTS = int(os.environ.get("TEST_CUTS", "2000"))
NUM_CUTS_OF_THREADS = 150
NUM_SPACED_CUTS = 100
NUM_THREADS = 4
NUM_CLIENTS = 6
SESSIONS_PER_CLIENT = 2
OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 1),
    ("grpc.min_reconnect_backoff_ms", 1),
    ("grpc.max_reconnect_backoff_ms", 20),
)
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)  # else clients share one, and each cut is one of all
RETRY = elman.Retry(initial_backoff_seconds=0.001, max_backoff_seconds=0.01)


class Walk:
    """Random chunks for one session, until there were enough cuts; they are kept, to be run again without any."""

    def __init__(self, proxy: CuttingProxy, num_cuts: int, number: int) -> None:
        self._proxy = proxy
        self._num_cuts = num_cuts
        self._random = random.Random(number)
        self._numpy = np.random.default_rng(number)
        self._sent: list[NDArray[np.float32]] = []

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        while not self._sent or self._proxy.num_cuts < self._num_cuts:
            self._sent.append(random_input(SPECS["lstm"], self._numpy, self._random.choice((1, 1, 1, 2, 3, 40))))
            yield self._sent[-1]

    async def __aiter__(self) -> AsyncIterator[NDArray[np.float32]]:
        for chunk in self:
            yield chunk

    def check(self, outputs: Iterable[NDArray[Any]], position: int | tuple[int, ...]) -> None:
        """Outputs equal an uncut run's; each step was applied once, and none is missing."""
        whole = np.concatenate(self._sent)
        assert_near(np.concatenate(list(outputs)), toy("lstm").run(whole)[0])
        assert position == len(whole)


async def test_over_thousands_of_cuts_outputs_equal_an_uncut_run_and_each_step_is_applied_once(serve: Serve) -> None:
    served = await serve("lstm")
    address = served.server.address
    async with CuttingProxy(address, mean_bytes=3000, seed=5) as proxy, asyncio.TaskGroup() as group:
        for number in range(NUM_CLIENTS):
            client = elman.AsyncClient(proxy.address, retry=RETRY, options=OPTIONS)
            group.create_task(_run_client(client, proxy, NUM_CUTS, number))
    assert proxy.num_cuts >= NUM_CUTS


async def test_the_retries_that_come_with_a_client_outlast_cuts_that_leave_it_time_for_an_answer(serve: Serve) -> None:
    served = await serve("lstm")
    address = served.server.address
    async with CuttingProxy(address, mean_bytes=8000, seed=6) as proxy, asyncio.TaskGroup() as group:
        for number in range(NUM_CLIENTS):
            client = elman.AsyncClient(proxy.address, options=OWN_CONNECTION)
            group.create_task(_run_client(client, proxy, NUM_SPACED_CUTS, number))
    assert proxy.num_cuts >= NUM_SPACED_CUTS


async def _run_client(client: elman.AsyncClient, proxy: CuttingProxy, num_cuts: int, number: int) -> None:
    async with client:
        model = await client.model("lstm")
        async with asyncio.TaskGroup() as group:
            for k in range(SESSIONS_PER_CLIENT):
                walk = Walk(proxy, num_cuts, number * SESSIONS_PER_CLIENT + k)
                group.create_task(_stream_until_enough(model, proxy, walk))


async def _stream_until_enough(model: elman.AsyncModel, proxy: CuttingProxy, walk: Walk) -> None:
    session = await model.session()
    outputs = [output async for output in session.stream(walk)]
    proxy.is_cutting = False
    walk.check(outputs, (await session.state()).position)


async def test_threads_that_share_a_client_see_no_cut(serve: Serve) -> None:
    served = await serve("lstm")
    address = served.server.address
    async with CuttingProxy(address, mean_bytes=3000, seed=7) as proxy:
        with elman.Client(proxy.address, retry=RETRY, options=OPTIONS) as client:
            async with asyncio.TaskGroup() as group:
                for number in range(NUM_THREADS):
                    walk = Walk(proxy, NUM_CUTS_OF_THREADS, number)
                    group.create_task(asyncio.to_thread(_walk_in_thread, client, proxy, walk, number % 2 == 0))
    assert proxy.num_cuts >= NUM_CUTS_OF_THREADS


def _walk_in_thread(client: elman.Client, proxy: CuttingProxy, walk: Walk, is_stream: bool) -> None:
    session = client.model("lstm").session()
    outputs = list(session.stream(walk)) if is_stream else [session.step(chunk) for chunk in walk]
    proxy.is_cutting = False
    walk.check(outputs, session.state().position)


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
