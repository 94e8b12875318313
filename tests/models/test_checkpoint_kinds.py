"""What people's training leaves in a file is packed as it stands, and gives what the module gives."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_kinds import (
    ARGUMENTS,
    Forecast,
    LanguageModel,
    Output,
    Perceptron,
    StackedCells,
    averaged,
    both,
    compiled,
    compiled_within,
    lightning,
    refused,
    trained,
)
from recurrent_cases import CPU, assert_near
from safetensors.torch import save_file
from torch import nn

from elman_models import (
    GraphSpec,
    ModelSpec,
    PackedInputs,
    PackOptions,
    WeightsError,
    infer_model,
    load_graph,
    write_bundle,
)
from elman_models.from_state_dict.checkpoint import read_checkpoint
from elman_models.from_state_dict.packing import Inferred


@dataclass
class Kind:
    """A network, what is saved of it, and how it is asked for."""

    network: nn.Module
    save: Callable[[nn.Module], Any] = nn.Module.state_dict
    key: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    has_ids: bool = False
    is_graph: bool = False


RELU = {"activation": "relu"}
KINDS = {
    "data_parallel": Kind(Forecast(), lambda network: nn.DataParallel(network).state_dict()),
    "compiled": Kind(Forecast(), lambda network: compiled(network).state_dict()),
    "compiled_and_parallel": Kind(Forecast(), lambda network: compiled(nn.DataParallel(network)).state_dict()),
    "compiled_within": Kind(Forecast(), compiled_within),
    "lightning": Kind(Forecast(), lambda network: lightning(network, hidden_size=8, lr=1e-3)),
    "lightning_namespace": Kind(Forecast(), lambda network: lightning(network, **ARGUMENTS)),
    "lightning_compiled": Kind(Forecast(), lambda network: lightning(compiled(network), hidden_size=8)),
    "lightning_relu": Kind(
        Forecast(nn.RNN(4, 8, nonlinearity="relu")), lambda network: lightning(network, nonlinearity="relu")
    ),
    "averaged": Kind(averaged(trained(Forecast()))),
    "averaged_in_a_checkpoint": Kind(
        averaged(trained(Forecast())), lambda n: {"model": Forecast().state_dict(), "ema": n.state_dict()}, "ema"
    ),
    "ema_beside": Kind(
        Forecast(),
        lambda n: {"state_dict": Forecast().state_dict(), "state_dict_ema": n.state_dict()},
        "state_dict_ema",
    ),
    "ema_within": Kind(Forecast(), both, "ema_model"),
    "sequential": Kind(nn.Sequential(nn.LSTM(4, 8, 2), Output(), nn.Linear(8, 3))),
    "sequential_ids": Kind(nn.Sequential(nn.Embedding(9, 4), nn.GRU(4, 8), Output(), nn.Linear(8, 9)), has_ids=True),
    "sequential_stacks": Kind(
        nn.Sequential(nn.GRU(4, 8), Output(), nn.Dropout(), nn.GRU(8, 8), Output(), nn.Linear(8, 3))
    ),
    "sequential_stacks_of_one_size": Kind(
        nn.Sequential(nn.GRU(4, 4), Output(), nn.GRU(4, 4), Output(), nn.Linear(4, 3))
    ),
    "sequential_of_both_directions": Kind(
        nn.Sequential(nn.GRU(4, 8, bidirectional=True), Output(), nn.LSTM(16, 3, bidirectional=True), Output()),
        is_graph=True,
    ),
    "sequential_layers": Kind(
        nn.Sequential(nn.GRU(4, 8), Output(), nn.Linear(8, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3)),
        options=RELU,
        is_graph=True,
    ),
    "lstm_cells": Kind(StackedCells(nn.LSTMCell, (4, 8, 8))),
    "gru_cells": Kind(StackedCells(nn.GRUCell, (4, 8, 8, 8), bias=False)),
    "rnn_cells": Kind(StackedCells(nn.RNNCell, (4, 8, 8), nonlinearity="relu"), options={"nonlinearity": "relu"}),
    "cells_of_one_size": Kind(StackedCells(nn.LSTMCell, (4, 4, 4)), options={"rnn_key": "cells"}),
    "cells_of_many_sizes": Kind(StackedCells(nn.LSTMCell, (4, 8, 6)), is_graph=True),
    "many_cells": Kind(StackedCells(nn.GRUCell, (4, *(8,) * 11))),
    "layers": Kind(Perceptron((8, 6, 3), nn.ReLU()), options=RELU, is_graph=True),
    "layers_of_one_size": Kind(Perceptron((8, 8, 8, 8), nn.Tanh()), options={"activation": "tanh"}, is_graph=True),
    "layers_without_activation": Kind(
        Perceptron((8, 6, 3), nn.Identity()), options={"activation": "none"}, is_graph=True
    ),
    "layers_with_a_parameter": Kind(
        Perceptron((8, 6, 3), nn.LeakyReLU()), options={"activation": "leaky_relu"}, is_graph=True
    ),
    "layers_tied_to_the_embedding": Kind(LanguageModel(), options={"activation": "none"}, has_ids=True, is_graph=True),
    "layers_in_lightning": Kind(
        Perceptron((8, 6, 3), nn.GELU()),
        lambda network: lightning(network, activation="gelu"),
        options={"activation": "gelu"},
        is_graph=True,
    ),
}


def packed(kind: Kind, folder: Path) -> Inferred:
    torch.save(kind.save(kind.network), folder / "w.pt")
    checkpoint = read_checkpoint(folder / "w.pt", kind.key)
    told = {"hyper_parameters": checkpoint.hyper_parameters}
    return infer_model(checkpoint.state_dict, PackOptions(**({"name": "m"} | told | kind.options)))


def computed(folder: Path, inferred: Inferred, input: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """What the bundle gives for [T, B, ...], in chunks."""
    stack = load_graph(write_bundle(folder / "bundle", inferred.spec, inferred.weights, overwrite=True), CPU)
    state, outputs = stack.initial_state(input.shape[1]), []
    for chunk in torch.split(input, lengths):
        sizes = np.full(len(chunk), input.shape[1], np.int64)
        given, state = stack.step(PackedInputs((chunk.flatten(0, 1).contiguous(),), sizes), state)
        outputs.append(given["output"].unflatten(0, chunk.shape[:2]))
    return torch.cat(outputs)


def random_input(kind: Kind) -> torch.Tensor:
    return torch.randint(9, (7, 2)) if kind.has_ids else torch.randn(7, 2, 4)


@pytest.mark.parametrize("name", KINDS)
def test_it_is_packed_as_it_was_saved_and_gives_what_the_module_gives(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    input, network = random_input(kind), trained(kind.network)
    expected = network(input)
    inferred = packed(kind, tmp_path)
    assert isinstance(inferred.spec, GraphSpec if kind.is_graph else ModelSpec)
    assert_near(computed(tmp_path, inferred, input, [7]), expected)
    if inferred.spec.keeps_sessions:
        assert_near(computed(tmp_path, inferred, input, [1, 4, 2]), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["data_parallel", "layers"])
def test_half_precision_weights_are_what_the_module_computes_with(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    kind = KINDS[name]
    halved = Kind(trained(kind.network).to(dtype), kind.save, options=kind.options)
    inferred = packed(halved, tmp_path)
    assert all(tensor.dtype is dtype for tensor in inferred.weights.values())
    input, network = torch.randn(7, 2, 4), halved.network.float()
    assert_near(computed(tmp_path, inferred, input, [1, 4, 2]), network(input))


def test_where_names_are_sorted_the_numbers_of_a_sequential_are_the_order(tmp_path: Path) -> None:
    layers = [nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)]
    network = nn.Sequential(nn.GRU(8, 8), Output(), *([nn.Identity()] * 7), *layers)
    kind = Kind(trained(network), lambda n: dict(sorted(n.state_dict().items())), options={"activation": "relu"})
    input = torch.randn(5, 2, 8)
    inferred = packed(kind, tmp_path)
    assert [node.name for node in inferred.spec.nodes if node.op == "linear"] == ["9", "11", "13"]
    assert_near(computed(tmp_path, inferred, input, [2, 3]), network(input))


def test_a_part_of_a_safetensors_file_is_had_by_key(tmp_path: Path) -> None:
    network = Forecast()
    save_file(both(network), tmp_path / "w.safetensors")
    read = read_checkpoint(tmp_path / "w.safetensors", "ema_model")
    assert all(torch.equal(read.state_dict[name], tensor) for name, tensor in network.state_dict().items())
    assert read.key == "ema_model"


def test_where_names_are_sorted_the_last_of_two_layers_may_be_said(tmp_path: Path) -> None:
    kind = Kind(
        trained(Perceptron((7, 7, 7), nn.ReLU())),
        lambda network: dict(sorted(network.state_dict().items())),
        options={"activation": "relu", "head_key": "fc2"},
    )
    input = torch.randn(5, 2, 4)
    assert_near(computed(tmp_path, packed(kind, tmp_path), input, [2, 3]), kind.network(input))


def test_what_is_assumed_is_told() -> None:
    network = Perceptron((8, 8, 3), nn.ReLU())
    told = "\n".join(infer_model(network.state_dict(), PackOptions(name="m", activation="relu")).assumed)
    assert "fc1, fc2 run in that order, relu and nothing else between them" in told
    assert "fc2 could by size read the stack's output, too" in told
    cells = StackedCells(nn.LSTMCell, (4, 8, 8)).state_dict()
    assert "cells.0, cells.1 run in that order" in "\n".join(infer_model(cells, PackOptions(name="m")).assumed)
    in_list = nn.Sequential(nn.GRU(4, 8), Output(), nn.ReLU(), nn.Linear(8, 3)).state_dict()
    assert "1, 2: without weights" in "\n".join(infer_model(in_list, PackOptions(name="m")).assumed)


def test_an_rnn_s_nonlinearity_is_that_of_the_hyper_parameters_unless_another_is_asked_for() -> None:
    rnn = nn.RNN(4, 8).state_dict()
    told = infer_model(rnn, PackOptions(name="m", hyper_parameters={"model.nonlinearity": "relu"}))
    assert told.spec.cell == "rnn_relu"
    assert told.assumed[-1] == "the nonlinearity is relu, as the checkpoint's hyper_parameters say"
    asked = infer_model(rnn, PackOptions(name="m", hyper_parameters={"nonlinearity": "relu"}, nonlinearity="tanh"))
    assert asked.spec.cell == "rnn_tanh"
    assert "as asked for, though the checkpoint's hyper_parameters say 'relu'" in asked.assumed[-1]
    for odd in ({"nonlinearity": "gelu"}, {"a.nonlinearity": "relu", "b.nonlinearity": "tanh"}, {"act": "relu"}):
        refused(rnn, "give nonlinearity", hyper_parameters=odd)


def test_hyper_parameters_are_numbers_and_texts_whatever_lightning_kept_them_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_in = type("AttributeDict", (dict,), {"__module__": "pytorch_lightning.utilities.parsing"})
    lightning_s = ModuleType(kept_in.__module__)
    lightning_s.AttributeDict = kept_in
    loop: dict[str, Any] = {"depth": 1}
    loop["again"] = loop
    given = {"lr": 0.1, "inner": kept_in(hidden=8), "loop": loop, "list": [1], "text": "x" * 999, "a b": 1} | ARGUMENTS
    with monkeypatch.context() as while_saved:
        for name in ("pytorch_lightning", "pytorch_lightning.utilities"):
            while_saved.setitem(sys.modules, name, ModuleType(name))
        while_saved.setitem(sys.modules, kept_in.__module__, lightning_s)
        torch.save(lightning(Forecast()) | {"hyper_parameters": kept_in(given)}, tmp_path / "w.ckpt")
    told = read_checkpoint(tmp_path / "w.ckpt").hyper_parameters
    assert told == {"lr": 0.1, "inner.hidden": 8, "loop.depth": 1, "args.hidden": 8, "args.where": "/data"}
    torch.save(lightning(Forecast()) | {"hyper_parameters": {"loss": nn.MSELoss()}}, tmp_path / "w.ckpt")
    with pytest.raises(WeightsError, match=r"refused, and not run: it holds torch\.nn\.modules\.loss\.MSELoss"):
        read_checkpoint(tmp_path / "w.ckpt")
