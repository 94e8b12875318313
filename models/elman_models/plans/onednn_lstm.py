"""The plan for LSTM without projection: oneDNN's kernel, its weights packed once instead of at every call."""

import torch
from torch import nn

from elman_models.packed import Packed
from elman_models.plans.fused_cells import LayerWeights
from elman_models.plans.rows import rounded, with_rows
from elman_models.spec import ModelSpec
from elman_models.state import State

_LSTM_MODE = 2  # torch's rnn mode (aten/src/ATen/native/mkldnn/RNN.cpp, miopen/cudnn numbering)


class OneDnnLstmPlan:
    """Equally long rows only, in the weights' dtype: float32, or bfloat16 with its products summed as float32.

    The operators are those that TorchInductor replaces `nn.LSTM` by (torch/_inductor/mkldnn_ir.py, MkldnnRnnLayer).
    """

    def __init__(self, name: str, spec: ModelSpec, rnn: nn.RNNBase, dtype: torch.dtype = torch.float32) -> None:
        """Packs the weights of `rnn`, an LSTM of one direction without projection, on the CPU."""
        self.name = name
        self._hidden_size = spec.hidden_size
        self._layers = [self._pack(LayerWeights.of(rnn, layer), dtype) for layer in range(spec.num_layers)]
        self._layer = torch.ops.aten.mkldnn_rnn_layer.default

    def run(self, input: Packed, state: State) -> tuple[torch.Tensor, State]:
        """See `Plan.run`."""
        assert state.c is not None  # an LSTM has one
        rows, count = input.num_rows, rounded(input.num_rows)
        x = with_rows(input.data.view(input.seq_len, rows, -1), count)
        before = with_rows(state.h, count), with_rows(state.c, count)
        h_n, c_n = [], []
        for layer, weights in enumerate(self._layers):
            x, h, c = self._run_layer(x, weights, *(tensor[layer : layer + 1] for tensor in before))
            h_n.append(h)
            c_n.append(c)
        after = State(torch.cat(h_n)[:, :rows], torch.cat(c_n)[:, :rows])
        return x[:, :rows].reshape(len(input.data), -1), after

    def _run_layer(
        self, x: torch.Tensor, weights: tuple[torch.Tensor, ...], h: torch.Tensor, c: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        # After the states: reverse, batch_sizes, mode, hidden_size, num_layers, has_biases, bidirectional,
        # batch_first, train.
        y, h, c, _ = self._layer(x, *weights, h, c, False, [], _LSTM_MODE, self._hidden_size, 1, True, *[False] * 3)
        return y, h, c

    def _pack(self, w: LayerWeights, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
        zeros = torch.zeros(len(w.ih))
        biases = [(zeros if b is None else b).to(dtype) for b in (w.b_ih, w.b_hh)]
        # hidden_size, reverse, has_biases, batch_first
        packed = torch.ops.mkldnn._reorder_mkldnn_rnn_layer_weight(
            w.ih.to(dtype), w.hh.to(dtype), self._hidden_size, False, True, False
        )
        return (*packed, *biases)
