"""Bundles of graphs that are spoilt, in the folder of a server that serves another model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file
from served import Served
from toys import SPECS, assert_near, pack_rows, random_input, toy

from elman import wire
from elman.v1 import inference_pb2
from elman.v1 import models_pb2 as pb

RNG = np.random.default_rng(4)
Fields = dict[str, Any]
Tensors = dict[str, torch.Tensor]
Damage = Callable[[Path], None]


def in_spec(change: Callable[[Fields], object]) -> Damage:
    def changed(bundle: Path) -> None:
        file = bundle / "model.yaml"
        fields = yaml.safe_load(file.read_text())
        change(fields)
        file.write_text(yaml.safe_dump(fields, sort_keys=False))

    return changed


def in_weights(change: Callable[[Tensors], object]) -> Damage:
    def changed(bundle: Path) -> None:
        tensors = load_file(bundle / "weights.safetensors")
        change(tensors)
        save_file(tensors, bundle / "weights.safetensors")

    return changed


async def assert_lstm_is_served(served: Served) -> None:
    row = random_input(SPECS["lstm"], RNG, 4)
    request = inference_pb2.InferRequest(model="lstm", lengths=[4], input=wire.to_tensor(pack_rows([row])))
    answer = await served.inference.Infer(request)
    assert_near(wire.from_tensor(answer.output), toy("lstm").run(row)[0])


async def listed(served: Served) -> list[str]:
    return [f"{m.name} {m.version}" for m in (await served.models.ListModels(pb.ListModelsRequest())).models]
