"""The fused plan: one matrix product per layer and step, with packed weights and few passes over the gates."""

from typing import Protocol

import torch
from torch import nn

from elman_models.packed import Packed
from elman_models.plans.affine import MakeAffine
from elman_models.plans.fused_cells import GruLayer, LayerWeights, LstmLayer, RnnLayer
from elman_models.spec import Cell, ModelSpec
from elman_models.state import State


class Layer(Protocol):
    """One layer, over all steps."""

    def run(
        self, x: torch.Tensor, sizes: list[int], h: torch.Tensor, c: torch.Tensor | None, y: torch.Tensor
    ) -> torch.Tensor | None:
        """Writes the layer's output to `y`.

        Args:
            x: [sum(sizes), inputs], packed.
            sizes: rows that have step t, non-increasing.
            h, c: [sizes[0], state_size] and, for an LSTM, [sizes[0], hidden_size]: before the first step.
            y: [sum(sizes), state_size], packed.

        Returns:
            For an LSTM c [sizes[0], hidden_size] after each row's last step.
        """
        ...


class FusedPlan:
    """Layer after layer, each over all its steps. A ragged batch needs nothing special: step t runs the rows it has."""

    def __init__(self, name: str, spec: ModelSpec, rnn: nn.RNNBase, make: MakeAffine) -> None:
        """Packs the weights of `rnn`, which has one direction and lies on the CPU; `make` is the product to use."""
        self.name = name
        self._state_size = spec.state_size
        weights = (LayerWeights.of(rnn, layer) for layer in range(spec.num_layers))
        self._layers = [_layer(spec.cell, w, make) for w in weights]

    def run(self, input: Packed, state: State) -> tuple[torch.Tensor, State]:
        """See `Plan.run`."""
        sizes = input.batch_sizes.tolist()
        x, h_n, c_n = input.data, [], []
        for index, layer in enumerate(self._layers):
            y = x.new_empty(len(x), self._state_size)
            c = layer.run(x, sizes, state.h[index], None if state.c is None else state.c[index], y)
            h_n.append(_last(y, sizes))
            if c is not None:
                c_n.append(c)
            x = y
        return x, State(torch.stack(h_n), torch.stack(c_n) if c_n else None)


def _layer(cell: Cell, weights: LayerWeights, make: MakeAffine) -> Layer:
    if cell is Cell.LSTM:
        return LstmLayer(weights, make)
    if cell is Cell.GRU:
        return GruLayer(weights, make)
    return RnnLayer(weights, make, "tanh" if cell is Cell.RNN_TANH else "relu")


def _last(y: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """[sizes[0], state_size]: each row's last step in the packed `y`."""
    if sizes[-1] == sizes[0]:
        return y[-sizes[0] :]
    ends, end = [], len(y)
    after = 0  # rows that have a later step
    for size in reversed(sizes):
        if size > after:
            ends.append(y[end - size + after : end])
            after = size
        end -= size
    return torch.cat(ends)
