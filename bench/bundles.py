"""The model that all benchmarks share: a 2-layer LSTM with random weights, as a bundle on disk."""

from pathlib import Path

import torch

from bench.effort import Effort
from elman_models import Cell, ModelSpec, write_bundle
from elman_models.spec import Precision

NAME = "lstm"
NUM_LAYERS = 2
SEED = 20


def reference(effort: Effort) -> torch.nn.LSTM:
    """The model as torch has it."""
    torch.manual_seed(SEED)
    return torch.nn.LSTM(effort.input_size, effort.hidden_size, NUM_LAYERS).requires_grad_(False).eval()


def write_model(folder: Path, effort: Effort, precision: str = "float32") -> Path:
    """A folder with the model's bundle."""
    spec = ModelSpec(
        name=NAME,
        cell=Cell.LSTM,
        input_size=effort.input_size,
        hidden_size=effort.hidden_size,
        num_layers=NUM_LAYERS,
        precision=Precision(precision),
    )
    weights = {f"rnn.{name}": tensor for name, tensor in reference(effort).state_dict().items()}
    write_bundle(folder / precision / NAME, spec, weights)
    return folder / precision
