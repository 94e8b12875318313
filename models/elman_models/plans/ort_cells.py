"""torch's recurrent layers as ONNX's operators have them: their names, attributes, and the order of gates."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from elman_models.plans.fused_cells import LayerWeights
from elman_models.spec import Cell, ModelSpec

Attribute = int | float | str | Sequence[int] | Sequence[str]
"""Of an operator."""
OPERATORS = {Cell.LSTM: "LSTM", Cell.GRU: "GRU", Cell.RNN_TANH: "RNN", Cell.RNN_RELU: "RNN"}
_GATES = {Cell.LSTM: (0, 3, 1, 2), Cell.GRU: (1, 0, 2)}
"""ONNX's order of torch's gates: i, o, f, c of i, f, g, o; and z, r, h of r, z, n."""


def attributes(spec: ModelSpec) -> dict[str, Attribute]:
    """Of a layer's operator."""
    found: dict[str, Attribute] = {"hidden_size": spec.hidden_size}
    if spec.cell is Cell.GRU:  # the recurrent bias of n is inside the reset, as in torch
        found["linear_before_reset"] = 1
    if spec.cell is Cell.RNN_RELU:
        found["activations"] = ["Relu"]
    return found


def layer_arrays(cell: Cell, w: LayerWeights) -> dict[str, NDArray[np.float32]]:
    """A layer's weights by the operator's names of them: W [1, num_gates * hidden_size, inputs], R, B."""
    zeros = torch.zeros(len(w.ih))
    biases = torch.cat([_reorder(cell, zeros if b is None else b) for b in (w.b_ih, w.b_hh)])
    tensors = {"W": _reorder(cell, w.ih), "R": _reorder(cell, w.hh), "B": biases}
    return {name: tensor[None].numpy() for name, tensor in tensors.items()}


def _reorder(cell: Cell, tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` [num_gates * hidden_size, ...] with its blocks in ONNX's order."""
    blocks = tensor.chunk(cell.num_gates)
    return torch.cat([blocks[gate] for gate in _GATES.get(cell, (0,))])
