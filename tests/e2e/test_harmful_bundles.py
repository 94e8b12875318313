"""Bundles made to harm a server: refused by name, nothing in them run, the server and its other models unharmed."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from broken_bundles import Damage, Fields, assert_lstm_is_served, in_spec, in_weights, listed
from graph_networks import ActorCritic, floats, graph, node
from graph_server import write_networks
from refusals import refusal_of
from served import Serve
from toys import write_toys

from elman.v1 import models_pb2 as pb
from elman_models import write_bundle

NAME = "ActorCritic"
TERABYTE = 1 << 40
RUN = Path("run")
"""What a bundle that was run leaves, in the folder of the test."""


class Payload:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (RUN,)


def was_run() -> bool:
    """Whether a payload was."""
    return RUN.exists()


def wide(number: int) -> Callable[[Fields], None]:
    """So many values of four million numbers, of few weights."""

    def changed(fields: Fields) -> None:
        nodes = [{"name": "w0", "op": "expand", "inputs": ["critic"], "parameters": {"features": [1 << 20, 4, 1]}}]
        nodes += [{"name": f"w{n + 1}", "op": "relu", "inputs": [f"w{n}"]} for n in range(number - 1)]
        nodes.append({"name": "sum", "op": "sum", "inputs": [f"w{number - 1}"], "parameters": {"axes": [0, 1, 2]}})
        fields["nodes"] += nodes
        fields["outputs"].append({"name": "sum", "value": "sum"})

    return changed


def aliases(fields: Fields) -> str:
    """Lists of lists, nine of each in the next."""
    lines = ["format: 2", f"name: {NAME}", "a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)]
    return "\n".join([*lines, "nodes: *a39"])


def as_text(make: Callable[[Fields], str]) -> Damage:
    return lambda bundle: (bundle / "model.yaml").write_text(make({})) and None


def with_large_state(bundle: Path) -> None:
    """Sessions of 48 megabytes."""
    nodes = [node("add", "y", "s", "x"), *(node("add", f"n{i}", f"h{i}", "x") for i in range(3))]
    large = [floats(f"h{i}", 1 << 20, 4) | {"next": f"n{i}"} for i in range(3)]
    spec = graph(
        nodes, {"y": "y"}, inputs=[floats("x", 4)], kind="step", states=[floats("s", 4) | {"next": "y"}, *large]
    )
    write_bundle(bundle, spec.model_copy(update={"name": NAME}), {}, overwrite=True)


def instead(file: str, make: Callable[[Path], object]) -> Damage:
    """Something else in a file's place."""

    def changed(bundle: Path) -> None:
        (bundle / file).unlink()
        make(bundle / file)

    return changed


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(TERABYTE)


def named_twice(bundle: Path) -> None:
    """A tensor in two places of the file's header."""
    path = bundle / "weights.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    entry = f', "norm.bias": {json.dumps(header["norm.bias"])}}}'
    text = json.dumps(header).removesuffix("}") + entry
    path.write_bytes(len(text).to_bytes(8, "little") + text.encode() + data[8 + length :])


HARMFUL: dict[str, tuple[Damage, str]] = {
    "a name used twice": (
        in_spec(lambda fields: fields["nodes"][1].update(name="rnn")),
        "nodes.rnn: a name used twice",
    ),
    "an input that nobody uses": (
        in_spec(lambda fields: fields["inputs"].append({"name": "z", "features": [2]})),
        "inputs.z: nobody uses it",
    ),
    "sizes that overflow": (
        in_spec(lambda fields: fields["inputs"][0].update(features=[1 << 20] * 7)),
        "in numbers: expected at most 4194304, got",
    ),
    "many values that are large together": (
        in_spec(wide(20)),
        "all values of a step, in numbers: expected at most 67108864, got",
    ),
    "more weights than a limit": (
        in_spec(lambda fields: fields["nodes"][3].update(op="linear", parameters={"out_features": 1 << 40})),
        "out_features",
    ),
    "sessions that no memory has room for": (with_large_state, "a session's state has 50,331,664 bytes"),
    "YAML of enormous depth": (
        as_text(lambda _: f"name: {NAME}\nnodes: " + "[" * 50_000),
        "cannot be read as YAML: more than 100 within each other",
    ),
    "YAML of aliases without bound": (as_text(aliases), "inputs: is missing"),
    "YAML that calls something": (
        as_text(
            lambda _: f"name: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{RUN}]]"
        ),
        "cannot be read as YAML: could not determine a constructor for the tag",
    ),
    "a spec without end": (
        instead("model.yaml", lambda path: path.symlink_to("/dev/zero")),
        "expected a regular file, got a pipe or a device",
    ),
    "a spec that nobody writes": (instead("model.yaml", os.mkfifo), "expected a regular file, got a pipe or a device"),
    "a spec of a terabyte": (instead("model.yaml", sparse), f"expected at most 1048576 bytes, got {TERABYTE}"),
    "weights without end": (
        instead("weights.safetensors", lambda path: path.symlink_to("/dev/zero")),
        "weights.safetensors: cannot be read: expected a regular file",
    ),
    "weights that nobody writes": (
        instead("weights.safetensors", os.mkfifo),
        "weights.safetensors: cannot be read: expected a regular file",
    ),
    "weights of a terabyte": (instead("weights.safetensors", sparse), f"got {TERABYTE}"),
    "weights that are a pickle": (
        instead("weights.safetensors", lambda path: path.write_bytes(pickle.dumps(Payload()))),
        "weights.safetensors: cannot be read as safetensors",
    ),
    "weights that torch saved": (
        instead("weights.safetensors", lambda path: torch.save({"norm.bias": Payload()}, path)),
        "weights.safetensors: cannot be read as safetensors",
    ),
    "a tensor that is named twice": (named_twice, "weights.safetensors: norm.bias: a name used twice"),
    "weights that are NaN": (
        in_weights(lambda tensors: tensors["rnn.weight_hh_l1"][2].fill_(np.nan)),
        "rnn.weight_hh_l1: expected finite float32 numbers, got NaN or infinity",
    ),
}


@pytest.mark.parametrize("what", HARMFUL)
async def test_what_would_harm_a_server_is_refused_by_name_and_the_others_are_served_and_loaded(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folder, (damage, message) = write_toys(tmp_path / "mine", ["lstm"]), HARMFUL[what]
    limits = {"max_sessions": 65536} if "sessions" in what else {}
    served = await serve(models=folder, **limits)
    write_networks(folder, [ActorCritic])
    damage(folder / NAME)
    refusal = await refusal_of(served.models.LoadModel(pb.LoadModelRequest(model=NAME)))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "BROKEN_BUNDLE")
    assert str(folder / NAME) in refusal.message
    assert message in refusal.message
    assert len(refusal.message) < 2100
    write_toys(folder, ["gru"])
    await served.models.LoadModel(pb.LoadModelRequest(model="gru"))
    assert await listed(served) == ["gru 1", "lstm 1"]
    await assert_lstm_is_served(served)
    with pytest.raises(Exception, match=NAME):
        await serve(models=folder, **limits)
    assert not was_run()


async def test_what_cannot_be_read_is_refused_where_it_may_be_the_model_meant(serve: Serve, tmp_path: Path) -> None:
    folder = write_toys(tmp_path / "mine", ["lstm"])
    served = await serve(models=folder)
    write_toys(folder, ["gru"])
    (folder / "other").mkdir()
    for text in ("{version: '2', 'name': \"gru\", cell: [}", "cell: gru\nname: gru # the new one\nlayers: 3\n"):
        (folder / "other" / "model.yaml").write_text(text)
        refusal = await refusal_of(served.models.LoadModel(pb.LoadModelRequest(model="gru")))
        assert refusal.reason == "BROKEN_BUNDLE"
        assert str(folder / "other") in refusal.message
    refusal = await refusal_of(served.models.LoadModel(pb.LoadModelRequest(model="nobody")))
    assert refusal.reason == "BROKEN_BUNDLE"
    (folder / "other" / "model.yaml").write_text("name: gru-2\n")
    await served.models.LoadModel(pb.LoadModelRequest(model="gru"))
    assert await listed(served) == ["gru 1", "lstm 1"]
