"""Generating over connections that are cut: no step is lost or comes twice, and the session is past what was told."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from cutting_proxy import CuttingProxy
from served import Serve
from toys import toy, write_toys

import elman

OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 1),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 20),
    ("grpc.use_local_subchannel_pool", 1),
)
RETRY = elman.Retry(initial_backoff_seconds=0.001, max_backoff_seconds=0.01)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toys(tmp_path_factory.mktemp("cut"), ["tokens"])


async def test_what_was_cut_goes_on_where_it_was(serve: Serve, models: Path) -> None:
    served = await serve(models=models, max_sessions=64)
    async with elman.AsyncClient(served.server.address) as plain:
        model = await plain.model("tokens")
        expected = [[t async for t in model.generate(300, prompt=[1], seed=seed)] for seed in range(4)]

    async def one(seed: int) -> None:
        client = elman.AsyncClient(proxy.address, retry=RETRY, options=OPTIONS)
        async with client, (await client.model("tokens")).session() as session:
            generation = session.generate(300, prompt=[1], seed=seed)
            tokens = [token async for token in generation]
            assert tokens == expected[seed]
            assert len(generation.log_probs) == 300
            assert session.position == 301
            output = await session.step([2])
            whole = np.array([1, *tokens, 2])
            assert np.allclose(output[0], toy("tokens").run(whole)[0][-1], atol=1e-5)

    async with CuttingProxy(served.server.address, mean_bytes=4000, seed=3) as proxy:
        while proxy.num_cuts < 5:  # the quicker a machine, the fewer messages and bytes
            async with asyncio.TaskGroup() as group:
                for seed in range(4):
                    group.create_task(one(seed))
