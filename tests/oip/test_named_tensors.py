"""Models that are graphs over the Open Inference Protocol: tensors by name; what comes is what the module gives."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from graph_cases import length_of, random_context, random_inputs
from graph_networks import STREAMED, WHOLE, Network, Tensors
from graph_server import write_networks
from oip_requests import refused, stub_of
from served import Serve, Served
from toys import assert_near

from elman_server.door.oip.stubs import grpc_service_pb2 as pb

DATATYPES = {"float32": "FP32", "int64": "INT64"}
NUMPY = {"FP32": np.float32, "INT64": np.int64}
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Network]]:
    folder = tmp_path_factory.mktemp("graphs")
    return folder, write_networks(folder, [*STREAMED, *WHOLE])


@pytest.fixture
async def graphs(serve: Serve, networks: tuple[Path, dict[str, Network]]) -> Served:
    return await serve(models=networks[0], max_slice=3)


def request(model: str, arrays: Mapping[str, np.ndarray], *outputs: str, **parameters: Any) -> Any:
    """Every tensor raw; parameters as the protocol has them."""
    made = pb.ModelInferRequest(model_name=model)
    for name, array in arrays.items():
        made.inputs.add(name=name, datatype=DATATYPES[array.dtype.name], shape=array.shape)
        made.raw_input_contents.append(array.tobytes())
    for name in outputs:
        made.outputs.add(name=name)
    for name, value in parameters.items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param"}[type(value)]
        setattr(made.parameters[name.removesuffix("_")], kind, value)
    return made


def tensors(response: Any) -> Arrays:
    return {
        one.name: np.frombuffer(raw, NUMPY[one.datatype]).reshape(tuple(one.shape))
        for one, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def batch(rows: list[Tensors]) -> Arrays:
    """[T, B, *features] of rows of one length."""
    return {name: np.stack([row[name].numpy() for row in rows], axis=1) for name in rows[0]}


def given(contexts: list[Tensors]) -> Arrays:
    """[B, *features]"""
    return {name: np.stack([one[name].numpy() for one in contexts]) for name in contexts[0]} if contexts else {}


@pytest.mark.parametrize("kind", [*STREAMED, *WHOLE])
async def test_whole_sequences_give_what_the_module_gives_by_name(
    graphs: Served, networks: Any, kind: type[Network]
) -> None:
    torch.manual_seed(1)
    network = networks[1][kind.__name__]
    rows = [random_inputs(network.spec, 5) for _ in range(3)]
    contexts = [random_context(network.spec) for _ in rows]
    outputs = [one.name for one in network.spec.outputs]
    asked = request(kind.__name__, batch(rows) | given(contexts), *outputs)
    got = tensors(await stub_of(graphs).ModelInfer(asked))
    assert list(got) == outputs
    for k, (row, context) in enumerate(zip(rows, contexts, strict=True)):
        for name, tensor in network(row, context).items():
            per_row = got[name].ndim == tensor.ndim + 1 and got[name].shape[0] == 3
            assert_near(got[name][k] if per_row else got[name][:, k], tensor.numpy())


@pytest.mark.parametrize("kind", STREAMED)
async def test_interleaved_sequences_in_chunks_give_what_the_module_gives(
    graphs: Served, networks: Any, kind: type[Network]
) -> None:
    torch.manual_seed(2)
    rng, network, stub = np.random.default_rng(2), networks[1][kind.__name__], stub_of(graphs)
    sequences = [random_inputs(network.spec, int(n)) for n in rng.integers(1, 9, 6)]
    contexts = [random_context(network.spec) for _ in sequences]
    outputs = [one.name for one in network.spec.outputs]
    done, got = [0] * len(sequences), [{name: [] for name in outputs} for _ in sequences]
    while left := [k for k, x in enumerate(sequences) if done[k] < length_of(x)]:
        k = int(rng.choice(left))
        end = int(rng.integers(done[k] + 1, length_of(sequences[k]) + 1))
        chunk = {name: tensor[done[k] : end] for name, tensor in sequences[k].items()}
        arrays = batch([chunk]) | (given([contexts[k]]) if done[k] == 0 else {})
        ends = end == length_of(sequences[k])
        asked = request(
            kind.__name__, arrays, *outputs, sequence_id=k + 1, sequence_start=done[k] == 0, sequence_end=ends
        )
        for name, array in tensors(await stub.ModelInfer(asked)).items():
            got[k][name].append(array[:, 0])
        done[k] = end
    for sequence, context, parts in zip(sequences, contexts, got, strict=True):
        for name, tensor in network(sequence, context).items():
            assert_near(np.concatenate(parts[name]), tensor.numpy())


async def test_a_graph_is_listed_with_the_names_shapes_and_datatypes_of_its_tensors(graphs: Served) -> None:
    stub = stub_of(graphs)
    metadata = await stub.ModelMetadata(pb.ModelMetadataRequest(name="Forecaster"))
    inputs = {one.name: (one.datatype, list(one.shape)) for one in metadata.inputs}
    assert inputs["x"] == ("FP32", [-1, -1, 2])
    assert inputs["weekday"] == ("INT64", [-1, -1])
    config = (await stub.ModelConfig(pb.ModelConfigRequest(name="Forecaster"))).config
    assert {one.name for one in config.input} == set(inputs)
    outputs = {one.name: list(one.shape) for one in metadata.outputs}
    assert outputs["h_n"][1] == -1
    voice = await stub.ModelMetadata(pb.ModelMetadataRequest(name="VoiceActivity"))
    named = {one.name: list(one.shape) for one in voice.outputs}
    assert named == {"speech": [-1, -1, 1], "conv.cache_n": [-1, 4, 4], "rnn.h_n": [1, -1, 5], "rnn.c_n": [1, -1, 5]}
    whole = await stub.ModelMetadata(pb.ModelMetadataRequest(name="Autoencoder"))
    assert {one.name: list(one.shape) for one in whole.outputs} == {"output": [-1, -1, 3], "code": [-1, 5]}


async def test_states_go_out_and_in_by_name(graphs: Served, networks: Any) -> None:
    network, stub = networks[1]["VoiceActivity"], stub_of(graphs)
    row = random_inputs(network.spec, 7)
    parts = [{"x": row["x"][some]} for some in (slice(0, 3), slice(3, None))]
    first = tensors(await stub.ModelInfer(request("VoiceActivity", batch([parts[0]]))))
    assert set(first) == {"speech", "conv.cache_n", "rnn.h_n", "rnn.c_n"}
    states = {f"{name.removesuffix('_n')}_0": array for name, array in first.items() if name.endswith("_n")}
    second = tensors(await stub.ModelInfer(request("VoiceActivity", batch([parts[1]]) | states, "speech")))
    assert_near(second["speech"][:, 0], network(row, {})["speech"].numpy()[3:])
    begun = request("VoiceActivity", batch([parts[1]]) | states, "speech", sequence_id=7, sequence_start=True)
    assert_near(tensors(await stub.ModelInfer(begun))["speech"], second["speech"])


X, DAY, ITEM = np.zeros((2, 1, 2), np.float32), np.zeros((2, 1), np.int64), np.zeros(1, np.int64)
WRONG: dict[str, tuple[Arrays, tuple[str, ...], dict[str, Any], str]] = {
    "an input is missing": ({"x": X, "item": ITEM}, (), {}, "expected the input 'weekday'"),
    "an input is unknown": ({"x": X, "weekday": DAY, "y": X}, (), {}, "unexpected inference input 'y'"),
    "other lengths": ({"x": X, "weekday": DAY[:1], "item": ITEM}, (), {}, "equally many steps and rows, got [2, 1]"),
    "another shape": ({"x": X[..., :1], "weekday": DAY, "item": ITEM}, (), {}, "Expected [-1,-1,2], got [2,1,1]"),
    "another datatype": ({"x": X, "weekday": DAY.astype(np.float32)}, (), {}, "expects 'INT64'"),
    "an id out of range": ({"x": X, "weekday": DAY + 7, "item": ITEM}, (), {}, "input 'weekday': token ids are in"),
    "no context": ({"x": X, "weekday": DAY}, (), {}, "context: expected 'item', got none"),
    "no context at a start": (
        {"x": X, "weekday": DAY},
        (),
        {"sequence_id": 3, "sequence_start": True},
        "context: expected 'item', got none",
    ),
    "a context later": (
        {"x": X, "weekday": DAY, "item": ITEM},
        (),
        {"sequence_id": 3},
        "'item' begins a sequence: it goes with sequence_start alone",
    ),
    "a context out of range": ({"x": X, "weekday": DAY, "item": ITEM + 9}, (), {}, "context 'item': ids are in [0, 9)"),
    "an output is unknown": ({"x": X, "weekday": DAY, "item": ITEM}, ("z",), {}, "unexpected inference output 'z'"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_is_wrong_with_a_tensor_is_told_by_name(graphs: Served, case: str) -> None:
    arrays, outputs, parameters, message = WRONG[case]
    code, told = await refused(stub_of(graphs).ModelInfer(request("Forecaster", arrays, *outputs, **parameters)))
    assert code == "INVALID_ARGUMENT"
    assert message in told


async def test_a_graph_that_looks_ahead_takes_no_sequences(graphs: Served) -> None:
    asked = request("Tagger", {"word": np.zeros((2, 1), np.int64)}, sequence_id=1, sequence_start=True)
    code, told = await refused(stub_of(graphs).ModelInfer(asked))
    assert code != "OK"
    assert "looks ahead" in told
