"""Every network that is packed, stepped and run by an unmodified tritonclient: as its module gives."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from client_venvs import ClientVenv
from graph_cases import random_context, random_inputs
from graph_networks import STREAMED, Network, Tensors
from graph_server import write_networks
from graphs_by_triton import Arrays, Begun, called, run_graphs, streamed
from packed_networks import (
    SESSIONS,
    STREAMING,
    WHOLE,
    Case,
    Networks,
    assert_given,
    contexts_of,
    row_of,
    rows_of,
    states_of,
)
from server_process import server_process
from toys import assert_near


class ByHand(NamedTuple):
    """A network whose graph is written by hand, and what it is given."""

    network: Network
    rows: list[tuple[Tensors, Tensors]]


@pytest.fixture(scope="module")
def models(every_network: Networks, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, ByHand]]:
    """The folder of all, and what is not packed."""
    torch.manual_seed(4)
    rng, folder = np.random.default_rng(4), tmp_path_factory.mktemp("graphs")
    by_hand = {
        name: ByHand(one, [begins_of(one, int(rng.integers(1, 12))) for _ in range(SESSIONS)])
        for name, one in write_networks(folder, STREAMED).items()
    }
    for name in every_network.cases:
        (folder / name).symlink_to(every_network.folder / name)
    return folder, by_hand


def begins_of(network: Network, length: int) -> tuple[Tensors, Tensors]:
    """Inputs and context of a random sequence."""
    return random_inputs(network.spec, length), random_context(network.spec)


@pytest.fixture(scope="module")
def address(models: tuple[Path, dict[str, ByHand]]) -> Iterator[str]:
    """Of one server of all."""
    with server_process(models[0], "--warm-up-seconds", "0") as address:
        yield address


@pytest.fixture(scope="module")
def given(
    triton: ClientVenv, address: str, every_network: Networks, models: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Arrays]:
    """What came of each."""
    rng = np.random.default_rng(5)
    asked = {
        name: sequences_of(rng, case) if name in STREAMING else batches_of(case)
        for name, case in every_network.cases.items()
    }
    for name, (network, rows) in models[1].items():
        asked[name] = streamed(rng, [begun(*row) for row in rows], [one.name for one in network.spec.outputs])
    return run_graphs(triton, address, tmp_path_factory.mktemp("asked"), asked)


def outputs_of(case: Case) -> list[str]:
    return [one.name for one in case.packed.spec.outputs]


def sequences_of(rng: np.random.Generator, case: Case) -> Arrays:
    begun = [
        Begun(
            row_of(case, run, row),
            contexts_of(case, [(run, row)]) or {},
            [*(states_of(case, [(run, row)]) or {}).values()],
        )
        for run, row in rows_of(case)
    ]
    return streamed(rng, begun, outputs_of(case))


def batches_of(case: Case) -> Arrays:
    spec, batches = case.packed.spec, []
    for run in case.runs:
        steps = {one.name: run.inputs[one.name].transpose(0, 1).numpy() for one in spec.inputs}
        batches.append(steps | {one.name: run.inputs[one.name].numpy() for one in spec.context})
    return called(batches, outputs_of(case))


def assert_came(came: Arrays) -> Arrays:
    assert "error" not in came, came["error"]
    return came


@pytest.mark.parametrize("name", STREAMING)
def test_16_interleaved_sequences_of_one_stream_give_what_the_module_gives(
    given: dict[str, Arrays], every_network: Networks, name: str
) -> None:
    case, came = every_network.cases[name], assert_came(given[name])
    for k, (run, row) in enumerate(rows_of(case)):
        assert_given({output: came[f"{output}:{k}"] for output in outputs_of(case)}, run, row)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_sequences_of_two_lengths_give_what_the_module_gives(
    given: dict[str, Arrays], every_network: Networks, name: str
) -> None:
    case, came = every_network.cases[name], assert_came(given[name])
    for k, run in enumerate(case.runs):
        for output, expected in run.expected.items():
            got, want = came[f"{output}:{k}"], expected.detach().numpy()  # [B, T, *features] or [B, *features]
            assert_near(got.swapaxes(0, 1) if got.shape[:1] == (run.length,) else got, want)


def begun(inputs: Tensors, context: Tensors) -> Begun:
    return Begun(
        {name: tensor.numpy() for name, tensor in inputs.items()},
        {name: tensor.numpy()[None] for name, tensor in context.items()},
    )


@pytest.mark.parametrize("name", [kind.__name__ for kind in STREAMED])
def test_16_interleaved_sequences_of_a_graph_by_hand_give_what_its_module_gives(
    given: dict[str, Arrays], models: tuple[Path, dict[str, ByHand]], name: str
) -> None:
    (network, rows), came = models[1][name], assert_came(given[name])
    for k, (inputs, context) in enumerate(rows):
        for output, tensor in network(inputs, context).items():
            assert_near(came[f"{output}:{k}"], tensor.numpy())
