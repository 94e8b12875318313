"""The SDK on models of several inputs, outputs, states and context, served for real: it gives what the module gives."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cutting_proxy import CuttingProxy
from graph_cases import random_context, random_inputs
from graph_networks import STREAMED, WHOLE, Network, Tensors
from graph_server import stacked, write_networks
from served import Serve
from toys import assert_near

import elman

NETWORKS: dict[str, Network] = {}


@pytest.fixture(scope="module")
def graph_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    NETWORKS.update(write_networks(folder, [*STREAMED, *WHOLE]))
    return folder


@pytest.fixture
async def client(serve: Serve, graph_folder: Path) -> AsyncIterator[elman.AsyncClient]:
    served = await serve(models=graph_folder, max_slice=3)
    async with elman.AsyncClient(served.server.address) as client:
        yield client


def given(row: Tensors) -> Any:
    """As a caller has it: a dict of several inputs, an array of one."""
    arrays = {name: tensor.numpy() for name, tensor in row.items()}
    return arrays if len(arrays) > 1 else next(iter(arrays.values()))


def context_of(row: Tensors) -> dict[str, np.ndarray] | None:
    return {name: tensor.numpy() for name, tensor in row.items()} or None


def assert_same(got: Any, expected: dict[str, torch.Tensor], steps: slice = slice(None)) -> None:
    """`got` as the SDK gives it: a dict of several outputs, an array of one."""
    if not isinstance(got, dict):
        got = {next(iter(expected)): got}
    assert list(got) == list(expected)
    for name, tensor in expected.items():
        assert_near(got[name], tensor.numpy()[steps])


@pytest.mark.parametrize("kind", STREAMED)
async def test_interleaved_sessions_in_random_chunks_give_what_the_module_gives(
    client: elman.AsyncClient, kind: type[Network]
) -> None:
    torch.manual_seed(1)
    rng, network = np.random.default_rng(1), NETWORKS[kind.__name__]
    model = await client.model(kind.__name__)

    async def one(length: int) -> None:
        sequence, context = random_inputs(network.spec, length), random_context(network.spec)
        expected = network(sequence, context)
        async with model.session(context=context_of(context)) as session:
            begin = 0
            while begin < length:
                end = int(rng.integers(begin + 1, length + 1))
                chunk = {name: tensor[begin:end] for name, tensor in sequence.items()}
                assert_same(await session.step(given(chunk), returning="all"), expected, slice(begin, end))
                begin = end

    await asyncio.gather(*(one(int(length)) for length in rng.integers(1, 12, 8)))


@pytest.mark.parametrize("kind", STREAMED)
async def test_a_pool_gives_what_the_module_gives(client: elman.AsyncClient, kind: type[Network]) -> None:
    torch.manual_seed(2)
    network = NETWORKS[kind.__name__]
    model = await client.model(kind.__name__)
    rows = [random_inputs(network.spec, length) for length in (4, 4, 4)]
    contexts = [random_context(network.spec) for _ in rows]
    async with model.sessions(3, context=stacked(contexts) or None) as pool:
        even = {name: np.stack([row[name][:2].numpy() for row in rows], axis=1) for name in rows[0]}
        x = even if len(even) > 1 else next(iter(even.values()))
        first = await pool.step(x, returning="all")
        rest = [
            given({name: tensor[2 : 2 + n] for name, tensor in row.items()})
            for row, n in zip(rows, (2, 1, 2), strict=True)
        ]
        second = await pool.step(rest, returning="last")
    for k, (row, context) in enumerate(zip(rows, contexts, strict=True)):
        expected = network(row, context)
        mine = {name: array[:, k] for name, array in first.items()} if len(expected) > 1 else first[:, k]
        assert_same(mine, expected, slice(0, 2))
        last = (3, 2, 3)[k]
        for name, tensor in expected.items():
            assert_near(second[k][name] if len(expected) > 1 else second[k], tensor.numpy()[last])


@pytest.mark.parametrize("kind", [*STREAMED, *WHOLE])
async def test_infer_gives_what_the_module_gives_of_one_of_several_and_of_none(
    client: elman.AsyncClient, kind: type[Network]
) -> None:
    torch.manual_seed(3)
    network = NETWORKS[kind.__name__]
    model = await client.model(kind.__name__)
    per_row = {one.name for one in model.info.outputs if one.per_row}
    rows = [random_inputs(network.spec, length) for length in (2, 7, 4)]
    contexts = [random_context(network.spec) for _ in rows]
    outputs, state = await model.infer(list(map(given, rows)), returning="all", context=stacked(contexts) or None)
    assert state.position == (2, 7, 4)
    for row, context, got in zip(rows, contexts, outputs, strict=True):
        expected = network(row, context)
        assert_same(got, expected)
    alone, _ = await model.infer(given(rows[1]), returning="all", context=stacked(contexts[1:2]) or None)
    assert_same(alone, network(rows[1], contexts[1]))
    if len(per_row) < len(model.info.outputs):
        last, _ = await model.infer(given(rows[1]), returning="last", context=stacked(contexts[1:2]) or None)
        named = last if len(network.spec.outputs) > 1 else {network.spec.outputs[0].name: last}
        for name, tensor in network(rows[1], contexts[1]).items():
            assert_near(named[name], tensor.numpy() if name in per_row else tensor.numpy()[-1])
    nothing, _ = await model.infer(
        [], context={one.name: np.zeros((0, *one.features), one.dtype) for one in model.info.context}
    )
    assert nothing == []


async def test_over_cuts_each_step_of_several_inputs_is_applied_once(serve: Serve, graph_folder: Path) -> None:
    torch.manual_seed(4)
    served, network = await serve(models=graph_folder, max_slice=3), NETWORKS["Forecaster"]
    retry = elman.Retry(initial_backoff_seconds=0.001, max_backoff_seconds=0.01)
    options = (("grpc.initial_reconnect_backoff_ms", 1), ("grpc.min_reconnect_backoff_ms", 1))
    async with (
        CuttingProxy(served.server.address, mean_bytes=3000, seed=7) as proxy,
        elman.AsyncClient(proxy.address, retry=retry, options=options) as client,
    ):
        model = await client.model("Forecaster")

        async def follow(wanted: list[str] | None) -> None:
            while proxy.num_cuts < 40:
                row, context = random_inputs(network.spec, 60), random_context(network.spec)
                expected = network(row, context)
                chunks = [given({name: tensor[k : k + 5] for name, tensor in row.items()}) for k in range(0, 60, 5)]
                async with model.session(context=context_of(context)) as session:
                    parts = [part async for part in session.stream(chunks, outputs=wanted)]
                    assert session.position == 60
                got = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
                assert_same(got, {name: expected[name] for name in wanted or expected})

        await asyncio.gather(*(follow(wanted) for wanted in (None, None, ["sigma"], ["sigma", "mu"])))
        assert proxy.num_cuts >= 40


async def test_a_pools_rows_fail_alone_and_have_no_numbers(client: elman.AsyncClient) -> None:
    torch.manual_seed(5)
    network = NETWORKS["Forecaster"]
    model = await client.model("Forecaster")
    rows = [random_inputs(network.spec, 3) for _ in range(3)]
    contexts = [random_context(network.spec) for _ in rows]
    x = {name: np.stack([row[name].numpy() for row in rows], axis=1) for name in rows[0]}
    x["weekday"][1, 1] = 7
    for wanted in (["sigma", "mu"], None):
        async with model.sessions(3, context=stacked(contexts)) as pool:
            with pytest.raises(elman.RowErrors) as caught:
                await pool.step(x, outputs=wanted, state=True)
            assert pool.positions == (3, 0, 3)
        output, state = caught.value.output, caught.value.state
        assert list(caught.value.errors) == [1]
        assert list(output) == (wanted or ["mu", "sigma"])
        assert state is not None
        for name in output:
            assert np.isnan(output[name][:, 1]).all()
            for k in (0, 2):
                assert_near(output[name][:, k], network(rows[k], contexts[k])[name].numpy())
        for name in state:
            assert np.isnan(state[name][:, 1]).all()
            assert np.isfinite(state[name][:, [0, 2]]).all()


async def test_only_the_named_outputs_come_in_the_order_of_their_naming(client: elman.AsyncClient) -> None:
    network = NETWORKS["ActorCritic"]
    model = await client.model("ActorCritic")
    row = random_inputs(network.spec, 5)
    expected = network(row, {})
    async with model.session() as session:
        got = await session.step(given(row), outputs=["value"])
        assert list(got) == ["value"]
        assert_near(got["value"], expected["value"].numpy())
    async with model.session() as session:
        got = await session.step(given(row), outputs=("value", "policy"))
        assert list(got) == ["value", "policy"]
    inferred, _ = await model.infer(given(row), outputs=["policy"])
    assert list(inferred) == ["policy"]
    async with model.session() as session:
        parts = [part async for part in session.stream([given(row)], outputs=["value"])]
    assert_near(parts[0]["value"], expected["value"].numpy())


async def test_a_state_is_told_by_name_and_sequences_go_on_from_it(client: elman.AsyncClient) -> None:
    network = NETWORKS["VoiceActivity"]
    model = await client.model("VoiceActivity")
    row = random_inputs(network.spec, 7)
    async with model.session() as session:
        result = await session.step(row["x"].numpy()[:3], state=True)
        state = await session.state()
    assert list(state) == list(result.state) == [one.name for one in network.spec.states]
    assert state.position == result.state.position == 3
    for name in state:
        assert_near(result.state[name], state[name])
    with pytest.raises(AttributeError, match=r"by name: 'conv.cache', 'rnn.h', 'rnn.c'"):
        _ = state.h_n
    rest, _ = await model.infer([row["x"].numpy()[3:]], initial_state=state)
    assert_near(rest[0], network(row, {})["speech"].numpy()[3:])
    with pytest.raises(elman.InvalidInputError, match=r"initial_state: model 'VoiceActivity' expects 'conv.cache'"):
        await model.infer([row["x"].numpy()], initial_state={"rnn.h": state["rnn.h"]})
    with pytest.raises(elman.InvalidInputError, match="is not one stack's; give initial_state"):
        await model.infer([row["x"].numpy()], h_0=state["rnn.h"])


WRONG: dict[str, tuple[Any, str]] = {
    "no dict": (np.zeros((3, 2), np.float32), "takes several inputs, by name: expected a dict of 'x', 'weekday'"),
    "one is missing": ({"x": np.zeros((3, 2))}, "expects 'x', 'weekday', got 'x'"),
    "one is unknown": ({"x": np.zeros((3, 2)), "weekday": [0, 1, 2], "y": 1}, "got 'x', 'weekday', 'y'"),
    "other steps": ({"x": np.zeros((3, 2)), "weekday": [0, 1]}, "equally many steps of each input, got 3 of 'x' and 2"),
    "one step beside several": ({"x": np.zeros((3, 2)), "weekday": 0}, "got 3 of 'x' and one step of 'weekday'"),
    "other features": ({"x": np.zeros((3, 4)), "weekday": [0, 1, 2]}, r"x\['x'\]: model 'Forecaster' expects \[T, 2\]"),
    "fractions as ids": ({"x": np.zeros((1, 2)), "weekday": [0.5]}, r"x\['weekday'\]: expected integer token ids"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_is_wrong_with_inputs_is_told_by_name(client: elman.AsyncClient, case: str) -> None:
    x, message = WRONG[case]
    model = await client.model("Forecaster")
    async with model.session(context={"item": 3}) as session:
        with pytest.raises(elman.InvalidInputError, match=message):
            await session.step(x)
        assert session.position == 0


async def test_a_context_is_needed_to_begin_kept_and_not_exchanged(client: elman.AsyncClient) -> None:
    model = await client.model("Forecaster")
    with pytest.raises(elman.InvalidInputError, match="context: model 'Forecaster' expects 'item', got none"):
        await model.session("a")
    with pytest.raises(elman.InvalidInputError, match="context 'item': ids are in"):
        await model.session("a", context={"item": 9})
    await (await model.session("a", context={"item": 1})).close()
    assert (await model.session("a", mode="resume")).resumed
    assert (await model.session("a", context={"item": 1})).resumed
    with pytest.raises(elman.InvalidInputError, match="runs with another context"):
        await model.session("a", context={"item": 2})


async def test_a_model_of_one_input_takes_it_by_name_too_and_answers_by_name_where_asked(
    client: elman.AsyncClient,
) -> None:
    model = await client.model("VoiceActivity")
    x = np.ones((2, 4), np.float32)
    async with model.session() as session:
        got = await session.step({"x": x}, outputs=["speech"])
    assert got["speech"].shape == (2, 1)


async def test_a_model_says_what_it_takes_and_a_graph_that_looks_ahead_refuses_sessions(
    client: elman.AsyncClient,
) -> None:
    forecaster = await client.model("Forecaster")
    assert [(one.name, one.features, one.num_embeddings) for one in forecaster.info.inputs] == [
        ("x", (2,), 0),
        ("weekday", (), 7),
    ]
    assert forecaster.info.cell is None
    assert "x [2], weekday []" in repr(forecaster)
    tagger = await client.model("Tagger")
    assert tagger.info.needs_whole_sequences
    with pytest.raises(elman.UnsupportedError, match="looks ahead"):
        await tagger.session()


async def test_threads_have_the_same(serve: Serve, graph_folder: Path) -> None:
    served = await serve(models=graph_folder)
    await asyncio.to_thread(step_and_infer, served.server.address)


def step_and_infer(address: str) -> None:
    network = NETWORKS["Forecaster"]
    row, context = random_inputs(network.spec, 6), random_context(network.spec)
    expected = network(row, context)
    with elman.Client(address) as client:
        model = client.model("Forecaster")
        with model.session(context=context_of(context)) as session:
            chunks = [given({name: tensor[k : k + 2] for name, tensor in row.items()}) for k in (0, 2, 4)]
            parts = list(session.stream(chunks, outputs=list(expected)))
        assert_same({name: np.concatenate([part[name] for part in parts]) for name in expected}, expected)
        with model.sessions(2, context=stacked([context, context])) as pool:
            x = {name: np.stack([tensor.numpy()] * 2, axis=1) for name, tensor in row.items()}
            both = pool.step(x, outputs=list(expected))
        assert_same({name: array[:, 1] for name, array in both.items()}, expected)
        outputs, _ = model.infer([given(row)], context=stacked([context]), outputs=list(expected))
        assert_same(outputs[0], expected)
