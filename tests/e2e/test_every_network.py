"""Networks as people write them, packed from the module, served, and stepped by sessions of the SDK: as it gives."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
from network_families import FAMILIES, OPERATIONS
from packed_networks import (
    STREAMING,
    WHOLE,
    Networks,
    assert_given,
    context_of,
    contexts_of,
    name_of,
    row_of,
    rows_of,
    states_of,
)
from served import Serve

import elman
from elman_models import GraphSpec
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


STACKS = ("rnn_tanh", "rnn_relu", "lstm", "gru")


def stacks_of(spec: GraphSpec, **parameters: object) -> list[str]:
    """Names of its recurrences with those parameters."""
    nodes = [node for node in spec.nodes if node.op in STACKS]
    return [node.name for node in nodes if parameters.items() <= node.parameters.items()]


def tables_of(spec: GraphSpec, op: str = "embedding") -> set[str]:
    """Names of the tensors that nodes of an operation have as weights."""
    return {tensor for node in spec.nodes if node.op == op for tensor in node.weights.values()}


HOLD: dict[str, Callable[[GraphSpec], object]] = {
    "a convolution in front": lambda spec: any("conv" in node.op for node in spec.nodes),
    "a learned h_0": lambda spec: any(state.initial for state in spec.states),
    "several inputs": lambda spec: len(spec.inputs) > 1,
    "several outputs": lambda spec: len(spec.outputs) > 1,
    "a stack of several layers": lambda spec: not stacks_of(spec, num_layers=1),
    "a stack without biases": lambda spec: stacks_of(spec, bias=False),
    "a stack with a projection": lambda spec: stacks_of(spec) and not stacks_of(spec, proj_size=0),
    "a stack of both directions": lambda spec: stacks_of(spec, bidirectional=True),
    "two LSTMs of different sizes": lambda spec: (
        len({n.parameters["hidden_size"] for n in spec.nodes if n.op == "lstm"}) > 1
    ),
    "a causal convolution": lambda spec: any(node.op == "causal_conv1d" for node in spec.nodes),
    "context": lambda spec: spec.context,
    "ids and floats together": lambda spec: len({one.dtype for one in spec.inputs}) > 1,
    "the last step alone": lambda spec: any(o.last_only for o in spec.outputs) or "last" in {n.op for n in spec.nodes},
    "what looks ahead": lambda spec: spec.kind == "whole",
    "pooling over time": lambda spec: any(node.op in ("time_mean", "time_amax") for node in spec.nodes),
    "stacked LSTMCells": lambda spec: [node.op for node in spec.nodes].count("lstm_cell") > 1,
    "sLSTM": lambda spec: len(spec.states) == 4,
    "GRU4Rec-like with top-k": lambda spec: any(node.op == "top_k" for node in spec.nodes),
    "actor-critic with a shared GRU": lambda spec: (
        len({(*n.weights.values(),) for n in spec.nodes if n.op in STACKS}) == 1
    ),
    "DeepSpeech-like": lambda spec: stacks_of(spec, bidirectional=True),
    "seq2seq with attention, its memory context": lambda spec: spec.kind == "step" and spec.context,
    "word language models with tied weights": lambda spec: tables_of(spec) & tables_of(spec, "linear"),
}
"""What the bundles of a family's networks have."""


@pytest.mark.parametrize("family", HOLD)
def test_the_networks_of_a_family_are_what_it_says(every_network: Networks, family: str) -> None:
    for network in FAMILIES[family]:
        assert HOLD[family](every_network.cases[name_of(network)].packed.spec), network


@pytest.mark.parametrize("op", OPERATIONS)
def test_what_networks_have_most_is_in_two_of_them_at_least(every_network: Networks, op: str) -> None:
    holding = [name for name, case in every_network.cases.items() if op in {n.op for n in case.packed.spec.nodes}]
    assert len(holding) >= 2, holding


def test_there_are_forty_and_more() -> None:
    assert len(STREAMING) + len(WHOLE) > 40
