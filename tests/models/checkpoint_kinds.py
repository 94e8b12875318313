"""Networks whose weights alone are packed, and how people's training leaves those in a file."""

import argparse
import pathlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from elman_models import PackOptions, SpecError, WeightsError, infer_model


def trained(network: nn.Module) -> nn.Module:
    """With weights so large that nothing is lost in rounding, and no gradients."""
    for parameter in network.parameters():
        parameter.requires_grad_(False).uniform_(-0.7, 0.7)
    return network.eval()


class Forecast(nn.Module):
    """A stack and a head."""

    def __init__(self, rnn: nn.Module | None = None) -> None:
        super().__init__()
        self.rnn = rnn or nn.LSTM(4, 8, 2)
        self.fc = nn.Linear(8, 3)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """[T, B, 4] to [T, B, 3]."""
        return self.fc(self.rnn(input)[0])


class Output(nn.Module):
    """What a stack gives beside its state, as an nn.Sequential needs it."""

    def forward(self, given: tuple[torch.Tensor, Any]) -> torch.Tensor:
        """The first of both."""
        return given[0]


class StackedCells(nn.Module):
    """Cells in a ModuleList, each reading the one before, and a head."""

    def __init__(self, cell: type[nn.RNNCellBase], sizes: Sequence[int], **options: Any) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cell(one, next_, **options) for one, next_ in pairwise(sizes))
        self.fc = nn.Linear(sizes[-1], 3)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """[T, B, sizes[0]] to [T, B, 3]."""
        states: list[Any] = [None] * len(self.cells)
        outputs = []
        for value in input:
            for layer, cell in enumerate(self.cells):
                states[layer] = cell(value, states[layer])
                value = states[layer][0] if isinstance(states[layer], tuple) else states[layer]
            outputs.append(self.fc(value))
        return torch.stack(outputs)


class Perceptron(nn.Module):
    """A stack and several linear layers with an activation between."""

    def __init__(self, sizes: Sequence[int], activation: nn.Module, rnn: nn.Module | None = None) -> None:
        super().__init__()
        self.rnn = rnn or nn.GRU(4, sizes[0])
        for number, (one, next_) in enumerate(pairwise(sizes), 1):
            self.add_module(f"fc{number}", nn.Linear(one, next_))
        self.activation = activation
        self.num_layers = len(sizes) - 1

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """[T, B, 4] to [T, B, sizes[-1]]."""
        value = self.fc1(self.rnn(input)[0])
        for number in range(2, self.num_layers + 1):
            value = self.get_submodule(f"fc{number}")(self.activation(value))
        return value


class LanguageModel(nn.Module):
    """An embedding, a stack, a projection to the embedding's size, and a head tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Embedding(9, 4)
        self.rnn = nn.LSTM(4, 8)
        self.proj = nn.Linear(8, 4)
        self.decoder = nn.Linear(4, 9)
        self.decoder.weight = self.encoder.weight

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """[T, B] to [T, B, 9]."""
        return self.decoder(self.proj(self.rnn(self.encoder(input))[0]))


def lightning(network: nn.Module, **hyper_parameters: Any) -> dict[str, Any]:
    """A checkpoint as Lightning's trainer writes it, of a module whose attribute `model` is the network."""
    score = torch.tensor(0.25)
    best = {"best_model_score": score, "best_model_path": "/a.ckpt", "best_k_models": {"/a.ckpt": score}}
    return {
        "epoch": 1,
        "global_step": 20,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"model.{name}": tensor for name, tensor in network.state_dict().items()},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_loop.batch_progress": {"total": {"ready": 2}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"monitor": "val_loss", "kth_value": score} | best},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": hyper_parameters,
    }


def averaged(network: nn.Module) -> AveragedModel:
    """Its moving average after an update with other weights."""
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(2):
        average.update_parameters(trained(Forecast()))
    return average


def both(network: nn.Module) -> dict[str, torch.Tensor]:
    """The state_dict of a module that holds a model and its moving average."""
    online = {f"online_model.{name}": torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}
    ema = {f"ema_model.{name}": tensor for name, tensor in network.state_dict().items()}
    return {"initted": torch.tensor(True), "step": torch.tensor(3)} | online | ema


def compiled(network: nn.Module) -> nn.Module:
    """By torch.compile, with the backend that takes no time to import: names are the same."""
    return torch.compile(network, backend="eager")


def compiled_within(network: nn.Module) -> dict[str, torch.Tensor]:
    """The state_dict of a module whose stack alone is compiled."""
    network.rnn = compiled(network.rnn)
    return network.state_dict()


ARGUMENTS = {"args": argparse.Namespace(hidden=8, where=pathlib.Path("/data"))}


def refused(network: nn.Module | dict[str, torch.Tensor], message: str, **options: Any) -> None:
    """Whether it is refused with that."""
    state_dict = network.state_dict() if isinstance(network, nn.Module) else network
    with pytest.raises((WeightsError, SpecError), match=message):
        infer_model(state_dict, PackOptions(name="m", **options))
