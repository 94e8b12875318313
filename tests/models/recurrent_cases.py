"""What the model tests share: specs of every kind, the same model as a plain `torch.nn` module, random tensors."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from elman_models import Cell, EmbeddingSpec, HeadSpec, ModelSpec, Packed, Stack, State, batch_sizes

CPU = torch.device("cpu")
CELLS: dict[str, dict[str, Any]] = {
    "rnn_tanh": {"cell": Cell.RNN_TANH},
    "rnn_relu": {"cell": Cell.RNN_RELU},
    "lstm": {"cell": Cell.LSTM},
    "lstm_projected": {"cell": Cell.LSTM, "proj_size": 3},
    "gru": {"cell": Cell.GRU},
}


def make_spec(cell: str = "lstm", *, parts: bool = False, **fields: Any) -> ModelSpec:
    """A small spec of one of CELLS; `parts`: with an embedding and a head."""
    around = {"embedding": EmbeddingSpec(num_embeddings=11, embedding_dim=4), "head": HeadSpec(out_features=6)}
    return ModelSpec(
        **({"name": "m", "input_size": 4, "hidden_size": 5} | CELLS[cell] | (around if parts else {}) | fields)
    )


def torch_module(spec: ModelSpec) -> nn.RNNBase:
    """The stack written by hand, so that what the tests compare with does not come from the code under test."""
    sizes = (spec.input_size, spec.hidden_size, spec.num_layers)
    flags: dict[str, bool] = {"bias": spec.bias, "bidirectional": spec.bidirectional}
    if spec.cell is Cell.LSTM:
        return nn.LSTM(*sizes, **flags, proj_size=spec.proj_size)
    if spec.cell is Cell.GRU:
        return nn.GRU(*sizes, **flags)
    return nn.RNN(*sizes, "relu" if spec.cell is Cell.RNN_RELU else "tanh", **flags)


class Reference(nn.Module):
    """The model as anyone would write it; its state_dict has the spec's names."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.rnn = torch_module(spec)
        if spec.embedding:
            self.embedding = nn.Embedding(spec.embedding.num_embeddings, spec.embedding.embedding_dim)
        if spec.head:
            self.head = nn.Linear(spec.stack_output_size, spec.head.out_features, bias=spec.head.bias)
        for parameter in self.parameters():
            parameter.requires_grad_(False).uniform_(-0.6, 0.6)

    def forward(self, input: torch.Tensor, hx: Any = None) -> tuple[torch.Tensor, Any]:
        """One whole sequence, [T, *input_features], hx unbatched."""
        with warnings.catch_warnings():  # oneDNN, which torch tries first, has no projection
            warnings.filterwarnings("ignore", "LSTM with projections")
            output, h_n = self.rnn(self.embedding(input) if hasattr(self, "embedding") else input, hx)
        return (self.head(output) if hasattr(self, "head") else output), h_n


def make_model(spec: ModelSpec) -> tuple[Reference, Stack]:
    """The same random weights twice."""
    reference = Reference(spec)
    return reference, Stack(spec, reference.state_dict(), CPU)


def random_input(spec: ModelSpec, *shape: int) -> torch.Tensor:
    """[*shape, *input_features]."""
    if spec.embedding:
        return torch.randint(spec.embedding.num_embeddings, shape)
    return torch.randn(*shape, *spec.input_features)


def random_state(spec: ModelSpec, batch: int) -> State:
    zeros = State.zeros(spec, batch, CPU)
    return State(torch.randn_like(zeros.h), None if zeros.c is None else torch.randn_like(zeros.c))


def pack(rows: Sequence[torch.Tensor]) -> Packed:
    """Rows [T_b, ...], longest first, as one packed tensor; written out step by step, unlike the code under test."""
    steps = [row[t] for t in range(len(rows[0])) for row in rows if t < len(row)]
    return Packed(torch.stack(steps), batch_sizes(np.array([len(row) for row in rows])))


def unpack(output: torch.Tensor, lengths: Sequence[int]) -> list[torch.Tensor]:
    """The inverse of `pack`."""
    rows: list[list[torch.Tensor]] = [[] for _ in lengths]
    steps = iter(output)
    for t in range(max(lengths)):
        for row, length in zip(rows, lengths, strict=True):
            if t < length:
                row.append(next(steps))
    return [torch.stack(row) for row in rows]


def as_state(hx: Any) -> State:
    return State(*hx) if isinstance(hx, tuple) else State(hx, None)


def assert_near(got: torch.Tensor | None, want: torch.Tensor | None) -> None:
    """Within 1e-5 x max(1, |y|), as promised of float32."""
    assert (got is None) == (want is None)
    if got is not None and want is not None:
        assert got.shape == want.shape
        assert ((got - want).abs() <= 1e-5 * want.abs().clamp(min=1)).all(), (got - want).abs().max()
