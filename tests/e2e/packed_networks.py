"""The networks that people write, packed from their modules, and what each module gives: once for all tests."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from module_networks import SEQUENCES, STEPS
from toys import assert_near

from elman_models import PackedModule, pack, pack_step
from elman_models.export import packing, stepping
from elman_models.export.proof import Run

SESSIONS = 16
"""So many are stepped together."""
SHAPES = ((SESSIONS, 9), (3, 4))
"""Batches and lengths of what the module itself is run on."""
ONE_ROW = tuple((1, 9 if k % 2 else 4) for k in range(SESSIONS))
"""Likewise, of a module that takes one sequence at a time."""
Arrays = dict[str, np.ndarray]


class Case(NamedTuple):
    """A network that was packed, and what its module gave."""

    packed: PackedModule
    runs: list[Run]


class Networks(NamedTuple):
    """All of them: the folder of their bundles, and each by its model's name."""

    folder: Path
    cases: dict[str, Case]


def name_of(text: str) -> str:
    """The model's, of a network's."""
    return text.replace(" ", "-").replace(",", "").replace("'", "")


STREAMING = [*(name_of(text) for text, case in SEQUENCES.items() if case.kind == "streaming"), *map(name_of, STEPS)]
WHOLE = [name_of(text) for text, case in SEQUENCES.items() if case.kind == "whole"]


@pytest.fixture(scope="session")
def every_network(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    """Each network there is a case of."""
    return _packed(tmp_path_factory.getbasetemp() / "every_network")


@cache  # a session has several such fixtures, one of each conftest; packing takes a minute
def _packed(folder: Path) -> Networks:
    folder.mkdir()
    found: dict[str, Case] = {}
    runs: list[Run] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "prove", _keeping(runs, packing.prove))
        patch.setattr(stepping, "prove", _keeping(runs, stepping.prove))
        for text, case in SEQUENCES.items():
            torch.manual_seed(1)
            name = name_of(text)
            packed = pack(case.make(), case.example(), out=folder / name, name=name, quiet=True)
            found[name] = Case(packed, [*runs])
        for text, step in STEPS.items():
            torch.manual_seed(1)
            name = name_of(text)
            given = (step.make(), step.inputs(), step.state())
            packed = pack_step(*given, context=step.context, out=folder / name, name=name, quiet=True)
            found[name] = Case(packed, [*runs])
    return Networks(folder, found)


def _keeping(runs: list[Run], prove: Callable[..., Any]) -> Callable[..., Any]:
    """What proves a bundle runs the module; so does this, and keeps what it gave."""

    def proved(assembled: Any, run: Callable[[int, int], Run], shapes: Any) -> Any:
        one_row = shapes and all(batch == 1 for batch, _ in shapes)
        runs[:] = [run(batch, length) for batch, length in (ONE_ROW if one_row else SHAPES)]
        return prove(assembled, run, shapes[:1])  # as a test of its own proves it wholly

    return proved


def rows_of(case: Case) -> list[tuple[Run, int]]:
    """The sequences that are stepped together: each another one."""
    rows = [(run, row) for run in case.runs for row in range(run.batch)][:SESSIONS]
    assert len(rows) == SESSIONS
    return rows


def row_of(case: Case, run: Run, row: int, steps: slice = slice(None)) -> Arrays:
    """[T, *features] of each input."""
    return {one.name: run.inputs[one.name][row][steps].numpy() for one in case.packed.spec.inputs}


def context_of(case: Case, run: Run, row: int) -> Arrays | None:
    """[*features] of each context, if there is any."""
    return {one.name: run.inputs[one.name][row].numpy() for one in case.packed.spec.context} or None


def contexts_of(case: Case, rows: list[tuple[Run, int]]) -> Arrays | None:
    """[B, *features] of each context, if there is any."""
    names = [one.name for one in case.packed.spec.context]
    return {name: np.stack([run.inputs[name][row].numpy() for run, row in rows]) for name in names} or None


def states_of(case: Case, rows: list[tuple[Run, int]]) -> Arrays | None:
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


def assert_given(got: Arrays, run: Run, row: int) -> None:
    """What came of a sequence; a module that gives the last step alone has that."""
    for name, expected in run.expected.items():
        want = expected[row].detach().numpy()
        assert_near(got[name][-1] if got[name].ndim == want.ndim + 1 else got[name], want)
