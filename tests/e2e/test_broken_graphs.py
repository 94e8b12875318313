"""Bundles of graphs that are broken, changed, or bear another's name: refused by name, and the others served."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from broken_bundles import assert_lstm_is_served, in_spec, in_weights, listed
from graph_networks import ActorCritic
from graph_server import write_networks
from refusals import refusal_of
from safetensors.torch import load_file
from served import Serve
from toys import assert_near, write_toys

from elman import wire
from elman.v1 import inference_pb2
from elman.v1 import models_pb2 as pb
from elman_models import write_bundle
from elman_server.errors import BrokenBundle

NAME = "ActorCritic"
LOAD = pb.LoadModelRequest(model=NAME)


def cut(bundle: Path) -> None:
    file = bundle / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-40])


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "an operation that there is not": (
        in_spec(lambda fields: fields["nodes"][1].update(op="eval")),
        "nodes.norm (eval)",
    ),
    "a cycle": (in_spec(lambda fields: fields["nodes"][0].update(inputs=["norm"])), "nodes.rnn: a cycle"),
    "a node that reads nothing that is there": (
        in_spec(lambda fields: fields["nodes"][2].update(inputs=["nowhere"])),
        "there is no such input, state or node",
    ),
    "sizes that contradict each other": (
        in_spec(lambda fields: fields["states"][0].update(features=[7])),
        "states: rnn.h: expected float32 features [6]",
    ),
    "no outputs": (in_spec(lambda fields: fields.pop("outputs")), "outputs: is missing"),
    "a format that is not known": (in_spec(lambda fields: fields.update(format=3)), "format: expected 1 or 2, got 3"),
    "what is of the other format": (in_spec(lambda fields: fields.pop("format")), "cell: is missing"),
    "no YAML": (lambda bundle: (bundle / "model.yaml").write_text("nodes: [") and None, "model.yaml"),
    "a tensor less": (in_weights(lambda tensors: tensors.pop("norm.bias")), "missing: norm.bias [6]"),
    "a tensor more": (in_weights(lambda tensors: tensors.update(other=torch.ones(2))), "not in the spec: other"),
    "a tensor of another shape": (
        in_weights(lambda tensors: tensors.update({"norm.bias": torch.ones(5)})),
        "norm.bias: expected shape [6], got [5]",
    ),
    "a tensor that is not finite": (
        in_weights(lambda tensors: tensors["norm.bias"].fill_(np.inf)),
        "norm.bias: expected finite",
    ),
    "a file of weights that is cut off": (cut, "weights.safetensors"),
    "no weights": (lambda bundle: (bundle / "weights.safetensors").unlink(), "weights.safetensors"),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_broken_graph_is_refused_at_load_by_name_and_loads_once_it_is_mended(
    serve: Serve, tmp_path: Path, what: str
) -> None:
    folder, (damage, message) = write_toys(tmp_path / "mine", ["lstm"]), BROKEN[what]
    served = await serve(models=folder)
    write_networks(folder, [ActorCritic])
    damage(folder / NAME)
    refusal = await refusal_of(served.models.LoadModel(LOAD))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "BROKEN_BUNDLE")
    assert str(folder / NAME) in refusal.message
    assert message in refusal.message
    assert await listed(served) == ["lstm 1"]
    await assert_lstm_is_served(served)
    shutil.rmtree(folder / NAME)
    write_networks(folder, [ActorCritic])
    await served.models.LoadModel(LOAD)
    assert await listed(served) == [f"{NAME} 1", "lstm 1"]


@pytest.mark.parametrize("what", BROKEN)
async def test_a_start_with_a_broken_graph_is_refused_by_name(serve: Serve, tmp_path: Path, what: str) -> None:
    folder, (damage, message) = write_toys(tmp_path / "mine", ["lstm"]), BROKEN[what]
    write_networks(folder, [ActorCritic])
    damage(folder / NAME)
    with pytest.raises(Exception, match=NAME) as caught:
        await serve(models=folder)
    assert message in str(caught.value)
    assert isinstance(caught.value, BrokenBundle) or "model.yaml" in str(caught.value)


async def test_a_graph_whose_files_changed_is_refused_until_it_is_unloaded(serve: Serve, tmp_path: Path) -> None:
    folder = write_toys(tmp_path / "mine", ["lstm"])
    write_networks(folder, [ActorCritic])
    served = await serve(models=folder)
    await served.models.LoadModel(LOAD)  # which is loaded, from the same files
    in_weights(lambda tensors: tensors["norm.bias"].add_(1))(folder / NAME)
    refusal = await refusal_of(served.models.LoadModel(LOAD))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "MODEL_CHANGED")
    await served.models.UnloadModel(pb.UnloadModelRequest(model=NAME))
    in_spec(lambda fields: fields.update(description="another"))(folder / NAME)
    await served.models.LoadModel(LOAD)
    in_spec(lambda fields: fields.update(description="yet another"))(folder / NAME)
    assert (await refusal_of(served.models.LoadModel(LOAD))).reason == "MODEL_CHANGED"


async def test_a_stack_and_a_graph_of_one_name_are_two_versions_or_refused(serve: Serve, tmp_path: Path) -> None:
    folder = write_toys(tmp_path / "mine", ["lstm"])
    served = await serve(models=folder)
    (network,) = write_networks(tmp_path, [ActorCritic]).values()
    weights = load_file(tmp_path / NAME / "weights.safetensors")
    for version in ("1", "2"):
        spec = network.spec.model_copy(update={"name": "lstm", "version": version})
        write_bundle(folder / "graph", spec, weights, overwrite=True)
        if version == "1":
            refusal = await refusal_of(served.models.LoadModel(pb.LoadModelRequest(model="lstm")))
            assert refusal.reason == "BROKEN_BUNDLE"
            assert str(folder / "graph") in refusal.message
            assert str(folder / "lstm") in refusal.message
            with pytest.raises(Exception, match="are both model 'lstm' version '1'"):
                await serve(models=folder)
    await served.models.LoadModel(pb.LoadModelRequest(model="lstm"))
    assert await listed(served) == ["lstm 1", "lstm 2"]
    x = torch.randn(3, 4)
    request = inference_pb2.InferRequest(model="lstm", version="2", lengths=[3], input=wire.to_tensor(x.numpy()))
    given = {one.name: wire.from_tensor(one.tensor) for one in (await served.inference.Infer(request)).outputs}
    for name, tensor in network({"x": x}, {}).items():
        assert_near(given[name], tensor.numpy())
