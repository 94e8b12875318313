"""Networks as people write them, packed from the module, served, and stepped by sessions of the SDK: as it gives."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from module_networks import SEQUENCES, STEPS
from served import Serve
from toys import assert_near

import elman
from elman_models import PackedModule, pack, pack_step
from elman_models.export import packing, stepping
from elman_models.export.proof import Run

SHAPES = ((16, 9), (3, 4))
"""Batches and lengths of what the module itself is run on."""


class Case(NamedTuple):
    """A network that was packed, and what its module gave."""

    packed: PackedModule
    runs: list[Run]


def name_of(text: str) -> str:
    """The model's, of a network's."""
    return text.replace(" ", "-").replace(",", "").replace("'", "")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Case]]:
    """All of them in one folder. What proves a bundle runs the module; so does this."""
    folder, found, runs = tmp_path_factory.mktemp("networks"), {}, []

    def proving(prove: Callable[..., Any]) -> Callable[..., Any]:
        def proved(assembled: Any, run: Callable[[int, int], Run], shapes: Any) -> Any:
            one_row = shapes and all(batch == 1 for batch, _ in shapes)
            runs[:] = [run(1 if one_row else batch, length) for batch, length in SHAPES]
            return prove(assembled, run, shapes[:1])  # as a test of its own proves it wholly

        return proved

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "prove", proving(packing.prove))
        patch.setattr(stepping, "prove", proving(stepping.prove))
        for text, case in SEQUENCES.items():
            torch.manual_seed(1)
            name = name_of(text)
            packed = pack(case.make(), case.example(), out=folder / name, name=name, quiet=True)
            found[name] = Case(packed, [*runs])
        for text, step in STEPS.items():
            torch.manual_seed(1)
            name = name_of(text)
            packed = pack_step(step.make(), step.inputs(), step.state(), out=folder / name, name=name, quiet=True)
            found[name] = Case(packed, [*runs])
    return folder, found


@pytest.fixture
async def client(
    serve: Serve, cases: tuple[Path, dict[str, Case]], name: str, tmp_path: Path
) -> AsyncIterator[elman.AsyncClient]:
    """Of a server of the network alone."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / name).symlink_to(cases[0] / name)
    served = await serve(models=tmp_path / "one", max_slice=3)
    async with elman.AsyncClient(served.server.address) as client:
        yield client


def row_of(case: Case, run: Run, row: int, steps: slice = slice(None)) -> dict[str, np.ndarray]:
    return {one.name: run.inputs[one.name][row][steps].numpy() for one in case.packed.spec.inputs}


def context_of(case: Case, run: Run, row: int) -> dict[str, np.ndarray] | None:
    return {one.name: run.inputs[one.name][row].numpy() for one in case.packed.spec.context} or None


def states_of(case: Case, rows: list[tuple[Run, int]]) -> dict[str, np.ndarray] | None:
    """What sequences begin with whose module takes its state as arguments; None where it begins by itself."""
    arguments = {state: argument for argument, state in case.packed.assembled.state_inputs.items()}
    if not arguments:
        return None
    states = {}
    for one in case.packed.spec.states:
        axis = 1 if one.layers else 0
        given = [run.states[arguments[one.name]].select(axis, row).numpy() for run, row in rows]
        states[one.name] = np.stack(given, axis=axis)
    return states


def assert_given(got: dict[str, np.ndarray], run: Run, row: int, end: int | None = None) -> None:
    """What came of a sequence; a module that gives the last step alone has that."""
    for name, expected in run.expected.items():
        want = expected[row].detach().numpy()
        if got[name].ndim == want.ndim + 1:
            assert_near(got[name][-1], want)
        else:
            assert_near(got[name], want[:end] if end else want)


STREAMING = [name_of(text) for text, case in SEQUENCES.items() if case.kind == "streaming"]
WHOLE = [name_of(text) for text, case in SEQUENCES.items() if case.kind == "whole"]


@pytest.mark.parametrize("name", [*STREAMING, *map(name_of, STEPS)])
async def test_interleaved_sessions_in_random_chunks_give_what_the_module_gives(
    client: elman.AsyncClient, cases: Any, name: str
) -> None:
    case = cases[1][name]
    rng, model = np.random.default_rng(3), await client.model(name)
    outputs = [one.name for one in case.packed.spec.outputs]
    run = case.runs[0]

    async def one(row: int) -> None:
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

    await asyncio.gather(*(one(row) for row in range(run.batch)))


@pytest.mark.parametrize("name", [*STREAMING, *WHOLE, *map(name_of, STEPS)])
async def test_whole_sequences_of_two_lengths_give_what_the_module_gives(
    client: elman.AsyncClient, cases: Any, name: str
) -> None:
    case, model = cases[1][name], await client.model(name)
    rows = [(run, row) for run in case.runs for row in range(run.batch)]
    context = {
        one.name: np.stack([run.inputs[one.name][row].numpy() for run, row in rows]) for one in case.packed.spec.context
    }
    outputs, _ = await model.infer(
        [row_of(case, run, row) for run, row in rows],
        returning="all",
        outputs=[one.name for one in case.packed.spec.outputs],
        initial_state=states_of(case, rows),
        context=context or None,
    )
    for (run, row), got in zip(rows, outputs, strict=True):
        assert_given(got, run, row)


def test_there_are_forty_and_more() -> None:
    assert len(SEQUENCES) + len(STEPS) > 40
