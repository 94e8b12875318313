"""Models that are graphs, served: what sessions and whole sequences give is what the module gives."""

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from graph_cases import length_of, random_context, random_inputs
from graph_networks import STREAMED, WHOLE, Decoder, Forecaster, Network
from graph_server import GraphStepper, by_name, named, outputs_of, packed, stacked, write_networks
from served import Serve, Served
from toys import assert_near

from elman.v1 import inference_pb2, models_pb2, sessions_pb2, tensor_pb2


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Network]]:
    folder = tmp_path_factory.mktemp("graphs")
    return folder, write_networks(folder, [*STREAMED, *WHOLE])


@pytest.fixture
async def graphs(serve: Serve, networks: tuple[Path, dict[str, Network]]) -> Served:
    return await serve(models=networks[0], max_slice=3)


async def stepper(served: Served, network: Network) -> GraphStepper:
    return GraphStepper(served.inference.Step(), network.spec)


@pytest.mark.parametrize("kind", STREAMED)
async def test_sixteen_interleaved_sessions_in_random_chunks_give_what_the_module_gives(
    graphs: Served, networks: Any, kind: type[Network]
) -> None:
    torch.manual_seed(5)
    rng, name = np.random.default_rng(5), kind.__name__
    network = networks[1][name]
    sequences = [random_inputs(network.spec, int(length)) for length in rng.integers(1, 14, 16)]
    contexts = [random_context(network.spec) for _ in sequences]
    opened = await graphs.open(name, count=16, context=named(stacked(contexts)))
    stream, done = await stepper(graphs, network), [0] * 16
    got: list[dict[str, list[Any]]] = [{} for _ in sequences]
    while left := [k for k in range(16) if done[k] < length_of(sequences[k])]:
        mine = rng.permutation(left)[: rng.integers(1, len(left) + 1)].tolist()
        takes = {k: int(rng.integers(1, length_of(sequences[k]) - done[k] + 1)) for k in mine}
        mine.sort(key=lambda k: -takes[k])
        rows = [{n: x[done[k] : done[k] + takes[k]] for n, x in sequences[k].items()} for k in mine]
        for k, outputs in zip(mine, await stream.step([opened.handles[k] for k in mine], rows), strict=True):
            done[k] += takes[k]
            for output, array in outputs.items():
                got[k].setdefault(output, []).append(array)
    for sequence, context, parts in zip(sequences, contexts, got, strict=True):
        expected = network(sequence, context)
        assert list(parts) == list(expected)
        for output, tensor in expected.items():
            assert_near(np.concatenate(parts[output]), tensor.numpy())


@pytest.mark.parametrize("kind", [*STREAMED, *WHOLE])
async def test_whole_sequences_of_any_lengths_give_what_the_module_gives(
    graphs: Served, networks: Any, kind: type[Network]
) -> None:
    torch.manual_seed(6)
    network = networks[1][kind.__name__]
    rows = [random_inputs(network.spec, length) for length in (9, 5, 5, 2, 1)]
    contexts = [random_context(network.spec) for _ in rows]
    lengths = [length_of(row) for row in rows]
    request = inference_pb2.InferRequest(
        model=kind.__name__, lengths=lengths, inputs=named(packed(rows)), context=named(stacked(contexts))
    )
    given = outputs_of(await graphs.inference.Infer(request), network.spec)
    info = (await graphs.models.DescribeModel(models_pb2.DescribeModelRequest(model=kind.__name__))).model
    per_row = {one.name for one in info.outputs if one.per_row}
    for k, (row, context) in enumerate(zip(rows, contexts, strict=True)):
        for name, tensor in network(row, context).items():
            if name in per_row:
                assert_near(given[name][k], tensor.numpy())
            else:
                where = [sum(min(length, t) for length in lengths) + k for t in range(lengths[k])]
                assert_near(given[name][where], tensor.numpy())


async def test_only_the_outputs_that_are_named_travel_whatever_the_neighbours_want(
    graphs: Served, networks: Any
) -> None:
    network = networks[1]["ActorCritic"]
    rows = [random_inputs(network.spec, 4) for _ in range(3)]
    opened = await graphs.open("ActorCritic", count=3)
    calls = [graphs.inference.Step() for _ in rows]
    wants: list[list[str]] = [["value"], [], ["policy"]]
    for k, (call, row) in enumerate(zip(calls, rows, strict=True)):
        frame = inference_pb2.StepRequest(
            frame_id=1, handles=[opened.handles[k]], lengths=[4], inputs=named(packed([row])), outputs=wants[k]
        )
        await call.write(frame)
    for call, row, want in zip(calls, rows, wants, strict=True):
        expected, got = network(row, {}), {}
        await call.read()  # the greeting
        while not (result := await call.read()).finished:
            for name, array in by_name(result.outputs).items():
                got[name] = np.concatenate([got[name], array]) if name in got else array
        for name, array in by_name(result.outputs).items():
            got[name] = np.concatenate([got[name], array]) if name in got else array
        assert list(got) == (want or ["policy", "value"])
        for name, array in got.items():
            assert_near(array, expected[name].numpy())


async def test_a_chunk_that_is_sent_again_gives_the_same_outputs_by_name(graphs: Served, networks: Any) -> None:
    network = networks[1]["ActorCritic"]
    row = random_inputs(network.spec, 5)
    opened = await graphs.open("ActorCritic", count=1)
    stream = await stepper(graphs, network)
    first = await stream.step(opened.handles, [row], positions=[0], outputs=["policy"])
    again = await stream.step(opened.handles, [row], positions=[0], outputs=["policy"])
    assert (first[0]["policy"] == again[0]["policy"]).all()


async def test_states_and_context_are_told_by_name_and_sequences_go_on_from_them(graphs: Served, networks: Any) -> None:
    network = networks[1]["Forecaster"]
    torch.manual_seed(1)
    row, context = random_inputs(network.spec, 6), random_context(network.spec)
    opened = await graphs.open("Forecaster", "a", context=named(stacked([context])))
    await (await stepper(graphs, network)).step(opened.handles, [{n: x[:4] for n, x in row.items()}])
    asked = sessions_pb2.DescribeSessionRequest(model="Forecaster", session_id="a", return_state=True)
    described = await graphs.sessions.DescribeSession(asked)
    assert by_name(described.context)["item"].tolist() == [int(context["item"])]
    info = (await graphs.models.DescribeModel(models_pb2.DescribeModelRequest(model="Forecaster"))).model
    assert info.state_layers > 0  # one stack's, so it travels as h_n and c_n
    request = inference_pb2.InferRequest(
        model="Forecaster",
        lengths=[2],
        inputs=named(packed([{n: x[4:] for n, x in row.items()}])),
        context=named(stacked([context])),
        h_0=described.h_n,
        c_0=described.c_n if described.HasField("c_n") else None,
    )
    given = outputs_of(await graphs.inference.Infer(request), network.spec)
    for name, tensor in network(row, context).items():
        assert_near(given[name], tensor.numpy()[4:])


async def test_a_state_of_several_parts_travels_by_name(graphs: Served, networks: Any) -> None:
    network = networks[1]["VoiceActivity"]
    row = random_inputs(network.spec, 7)
    begin, rest = ({n: x[part] for n, x in row.items()} for part in (slice(0, 3), slice(3, None)))
    request = inference_pb2.InferRequest(
        model="VoiceActivity", lengths=[3], inputs=named(packed([begin])), return_state=True
    )
    first = await graphs.inference.Infer(request)
    assert [one.name for one in first.states] == [one.name for one in network.spec.states]
    request = inference_pb2.InferRequest(
        model="VoiceActivity", lengths=[4], inputs=named(packed([rest])), initial_states=first.states
    )
    given = outputs_of(await graphs.inference.Infer(request), network.spec)
    assert_near(given["speech"], network(row, {})["speech"].numpy()[3:])


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an input that is missing": ({"inputs": ["x"]}, "expected 'x', 'weekday', got none of 'weekday'"),
    "an input that is unknown": ({"inputs": ["x", "weekday", "y"]}, "expected some of 'x', 'weekday', got 'y'"),
    "an input twice": ({"inputs": ["x", "weekday", "x"]}, "'x' is repeated"),
    "a single input": ({"input": True}, "inputs: expected 'x', 'weekday'"),
    "an output that is unknown": ({"outputs": ["z"]}, "outputs: expected some of"),
    "an output twice": ({"outputs": ["mean", "mean"]}, "is repeated"),
    "an id out of range": ({"ids": 7}, "input 'weekday': token ids are in [0, 7)"),
    "no context": ({"context": []}, "context: expected 'item', got none"),
    "another context": ({"context": ["items"]}, "context: expected 'item', got 'items'"),
    "a context out of range": ({"item": 9}, "context 'item': ids are in [0, 9)"),
    "a context of floats": ({"item": 1.0}, "context 'item': expected int64 [1], got float32 [1]"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_wrong_with_a_name_is_told_by_name(graphs: Served, networks: Any, case: str) -> None:
    changes, message = REFUSED[case]
    spec = networks[1]["Forecaster"].spec
    outputs = [spec.outputs[0].name if one == "mean" else one for one in changes.get("outputs", [])]
    arrays = {
        "x": np.zeros((1, 2), np.float32),
        "weekday": np.array([changes.get("ids", 0)]),
        "y": np.zeros((1, 2), np.float32),
    }
    item = changes.get("item", 0)
    context = np.array([item], np.float32 if isinstance(item, float) else np.int64)
    request = inference_pb2.InferRequest(
        model="Forecaster",
        lengths=[1],
        outputs=outputs,
        inputs=[
            tensor_pb2.NamedTensor(name=name, tensor=named({name: arrays[name]})[0].tensor)
            for name in ([] if "input" in changes else changes.get("inputs", ["x", "weekday"]))
        ],
        input=named(arrays)[0].tensor if "input" in changes else None,
        context=named(dict.fromkeys(changes.get("context", ["item"]), context)),
    )
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await graphs.inference.Infer(request)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in str(raised.value.details())


async def test_a_session_keeps_its_context_and_another_one_is_refused(graphs: Served) -> None:
    memory = np.random.default_rng(0).standard_normal((1, 5, 3)).astype(np.float32)
    opened = await graphs.open("Decoder", "a", context=named({"memory": memory}))
    assert not opened.resumed[0]
    mode = sessions_pb2.OPEN_MODE_RESUME_OR_NEW
    again = await graphs.open("Decoder", "a", context=named({"memory": memory}), mode=mode)
    assert again.resumed[0]
    assert (await graphs.open("Decoder", "a", mode=sessions_pb2.OPEN_MODE_RESUME)).resumed[0]
    request = sessions_pb2.OpenSessionsRequest(
        model="Decoder", session_ids=["a", "b"], mode=mode, context=named({"memory": np.repeat(memory + 1, 2, axis=0)})
    )
    answer = await graphs.sessions.OpenSessions(request)
    assert [error.index for error in answer.errors] == [0]
    assert "another context" in answer.errors[0].status.message
    assert answer.handles[1]


async def test_a_graph_that_looks_ahead_keeps_no_sessions(graphs: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await graphs.open("Tagger", count=1)
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "looks ahead" in str(raised.value.details())


async def test_a_model_says_what_it_takes_gives_and_keeps(graphs: Served) -> None:
    info = (await graphs.models.DescribeModel(models_pb2.DescribeModelRequest(model="Forecaster"))).model
    assert [(one.name, list(one.features), one.num_embeddings) for one in info.inputs] == [
        ("x", [2], 0),
        ("weekday", [], 7),
    ]
    assert [(one.name, one.num_embeddings) for one in info.context] == [("item", 9)]
    assert [one.name for one in info.outputs] == [one.name for one in Forecaster.spec.outputs]
    assert not info.needs_whole_sequences
    assert info.cell == models_pb2.CELL_UNSPECIFIED
    whole = (await graphs.models.DescribeModel(models_pb2.DescribeModelRequest(model="Tagger"))).model
    assert whole.needs_whole_sequences
    assert Decoder.spec.context


async def test_a_graph_that_gives_too_little_fails_its_batch_and_nobody_else(
    graphs: Served, networks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = networks[1]["ActorCritic"]
    row = random_inputs(network.spec, 2)
    stack = graphs.runtime("ActorCritic").stack
    step = stack.step

    def too_little(*given: Any, **options: Any) -> Any:
        outputs, state = step(*given, **options)
        return {name: tensor[:0] for name, tensor in outputs.items()}, state

    request = inference_pb2.InferRequest(model="ActorCritic", lengths=[2], inputs=named(packed([row])))
    with monkeypatch.context() as patch:
        patch.setattr(stack, "step", too_little)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await graphs.inference.Infer(request)
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    given = outputs_of(await graphs.inference.Infer(request), network.spec)
    assert_near(given["policy"], network(row, {})["policy"].numpy())
