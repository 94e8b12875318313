"""Small models of every kind, each also as the plain `torch.nn` module that the server must agree with."""

import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from elman_models import Cell, EmbeddingSpec, HeadSpec, ModelSpec, Stack, write_bundle

CPU = torch.device("cpu")
Array = NDArray[Any]

_SIZES: dict[str, Any] = {"input_size": 3, "hidden_size": 5, "num_layers": 2}
SPECS: dict[str, ModelSpec] = {
    name: ModelSpec(name=name, **(_SIZES | fields))
    for name, fields in {
        "rnn_tanh": {"cell": Cell.RNN_TANH},
        "rnn_relu": {"cell": Cell.RNN_RELU},
        "lstm": {"cell": Cell.LSTM},
        "lstm_proj": {"cell": Cell.LSTM, "proj_size": 2},
        "gru": {"cell": Cell.GRU},
        "bi_lstm": {"cell": Cell.LSTM, "bidirectional": True},
        "tokens": {
            "cell": Cell.GRU,
            "num_layers": 1,
            "embedding": EmbeddingSpec(num_embeddings=11, embedding_dim=3),
            "head": HeadSpec(out_features=4),
        },
    }.items()
}
STEPPED = tuple(name for name in SPECS if name != "bi_lstm")
"""Those that keep sessions."""
FED = ModelSpec(
    name="lstm_fed", cell=Cell.LSTM, input_size=3, hidden_size=5, num_layers=1, head=HeadSpec(out_features=3)
)
"""One that can be fed the values that it gives."""


class Toy(nn.Module):
    """A model as anyone would write it; its state_dict has the bundle's names."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        common: dict[str, Any] = {"num_layers": spec.num_layers, "bidirectional": spec.bidirectional}
        if spec.cell is Cell.LSTM:
            common["proj_size"] = spec.proj_size
        if spec.cell in (Cell.RNN_TANH, Cell.RNN_RELU):
            common["nonlinearity"] = spec.cell.removeprefix("rnn_")
        kind = {Cell.LSTM: nn.LSTM, Cell.GRU: nn.GRU}.get(spec.cell, nn.RNN)
        self.rnn = kind(spec.input_size, spec.hidden_size, **common)
        if spec.embedding:
            self.embedding = nn.Embedding(spec.embedding.num_embeddings, spec.embedding.embedding_dim)
        if spec.head:
            self.head = nn.Linear(spec.stack_output_size, spec.head.out_features)
        generator = torch.Generator().manual_seed(7)
        for parameter in self.parameters():
            parameter.requires_grad_(False).uniform_(-0.7, 0.7, generator=generator)

    def forward(self, x: torch.Tensor, hx: Any = None) -> tuple[torch.Tensor, Any]:
        """One whole sequence [T, *features], unbatched."""
        with warnings.catch_warnings():  # oneDNN, which torch tries first, has no projection
            warnings.filterwarnings("ignore", "LSTM with projections")
            output, state = self.rnn(self.embedding(x) if self.spec.embedding else x, hx)
        return (self.head(output) if self.spec.head else output), state

    def run(self, x: Array, hx: Any = None) -> tuple[Array, Array, Array | None]:
        """[T, output_size], h_n [state_layers, state_size], c_n likewise or None."""
        output, state = self(torch.from_numpy(np.array(x)), hx)
        h, c = state if isinstance(state, tuple) else (state, None)
        return output.numpy(), h.numpy(), None if c is None else c.numpy()

    def stack(self, device: torch.device = CPU) -> Stack:
        """The same weights as the server runs them."""
        return Stack(self.spec, self.state_dict(), device)


@cache
def toy(name: str) -> Toy:
    """The toy of that name; always the same weights."""
    return Toy(_spec(name))


def write_toys(folder: Path, names: Iterable[str] = tuple(SPECS)) -> Path:
    """A model folder with those toys."""
    for name in names:
        write_bundle(folder / name, _spec(name), toy(name).state_dict())
    return folder


def _spec(name: str) -> ModelSpec:
    return FED if name == FED.name else SPECS[name]


def random_input(spec: ModelSpec, rng: np.random.Generator, steps: int) -> Array:
    """[steps, *features]"""
    if spec.embedding:
        return rng.integers(spec.embedding.num_embeddings, size=steps)
    return rng.standard_normal((steps, *spec.input_features)).astype(np.float32)


def pack_rows(rows: list[Array]) -> Array:
    """Rows [T_k, ...], longest first, in the packed layout: written out step by step, unlike the code under test."""
    return np.stack([row[t] for t in range(len(rows[0])) for row in rows if t < len(row)])


def unpack_rows(packed: Array, lengths: list[int]) -> list[Array]:
    """The inverse of `pack_rows`."""
    rows: list[list[Array]] = [[] for _ in lengths]
    steps = iter(packed)
    for t in range(max(lengths)):
        for row, length in zip(rows, lengths, strict=True):
            if t < length:
                row.append(next(steps))
    return [np.stack(row) for row in rows]


def assert_near(got: Array | None, want: Array | None) -> None:
    """Within 1e-5 x max(1, |y|): as promised of float32."""
    assert got is not None
    assert want is not None
    assert got.shape == want.shape
    assert (np.abs(got - want) <= 1e-5 * np.maximum(1, np.abs(want))).all(), np.abs(got - want).max()
