"""The recurrent stack as the `torch.nn` module that it is."""

import torch
from torch import nn

from elman_models.spec import Cell, ModelSpec


def recurrent_module(spec: ModelSpec) -> nn.RNNBase:
    """The spec's stack as a `torch.nn` module, seq-first, dropout off, with uninitialised parameters."""
    common = {"num_layers": spec.num_layers, "bias": spec.bias, "bidirectional": spec.bidirectional}
    sizes = (spec.input_size, spec.hidden_size)
    with torch.device("meta"):
        if spec.cell is Cell.LSTM:
            module: nn.RNNBase = nn.LSTM(*sizes, proj_size=spec.proj_size, **common)
        elif spec.cell is Cell.GRU:
            module = nn.GRU(*sizes, **common)
        else:
            module = nn.RNN(*sizes, nonlinearity=spec.cell.removeprefix("rnn_"), **common)
    return module.to_empty(device="cpu").requires_grad_(False).eval()
