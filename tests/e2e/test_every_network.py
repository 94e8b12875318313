"""Networks as people write them, packed from the module, served, and stepped by sessions of the SDK: as it gives."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from packed_networks import (
    STREAMING,
    WHOLE,
    Networks,
    assert_given,
    context_of,
    contexts_of,
    row_of,
    rows_of,
    states_of,
)
from served import Serve

import elman
from elman_models.export.proof import Run


@pytest.fixture
async def client(
    serve: Serve,
    every_network: Networks,
    name: str,
    tmp_path: Path,
) -> AsyncIterator[elman.AsyncClient]:
    """Of a server of the network alone."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / name).symlink_to(every_network.folder / name)
    served = await serve(models=tmp_path / "one", max_slice=3)
    async with elman.AsyncClient(served.server.address) as client:
        yield client


@pytest.mark.parametrize("name", STREAMING)
async def test_16_interleaved_sessions_in_random_chunks_give_what_the_module_gives(
    client: elman.AsyncClient,
    every_network: Networks,
    name: str,
) -> None:
    case = every_network.cases[name]
    rng, model = np.random.default_rng(3), await client.model(name)
    outputs = [one.name for one in case.packed.spec.outputs]

    async def one(run: Run, row: int) -> None:
        parts: dict[str, list[np.ndarray]] = {output: [] for output in outputs}
        begun = states_of(case, [(run, row)])
        async with model.session(context=context_of(case, run, row), initial_state=begun) as session:
            begin = 0
            while begin < run.length:
                end = int(rng.integers(begin + 1, run.length + 1))
                chunk = row_of(case, run, row, slice(begin, end))
                for output, array in (await session.step(chunk, returning="all", outputs=outputs)).items():
                    parts[output].append(array)
                begin = end
        assert_given({output: np.concatenate(arrays) for output, arrays in parts.items()}, run, row)

    await asyncio.gather(*(one(run, row) for run, row in rows_of(case)))


@pytest.mark.parametrize("name", [*STREAMING, *WHOLE])
async def test_whole_sequences_of_two_lengths_give_what_the_module_gives(
    client: elman.AsyncClient,
    every_network: Networks,
    name: str,
) -> None:
    case, model = every_network.cases[name], await client.model(name)
    rows = [(run, row) for run in case.runs for row in range(run.batch)]
    outputs, _ = await model.infer(
        [row_of(case, run, row) for run, row in rows],
        returning="all",
        outputs=[one.name for one in case.packed.spec.outputs],
        initial_state=states_of(case, rows),
        context=contexts_of(case, rows),
    )
    for (run, row), got in zip(rows, outputs, strict=True):
        assert_given(got, run, row)


def test_there_are_forty_and_more() -> None:
    assert len(STREAMING) + len(WHOLE) > 40
