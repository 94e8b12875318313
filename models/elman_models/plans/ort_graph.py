"""A recurrent stack as an ONNX graph, built from the weights: no tracing, no export (operators: ONNX opset 18)."""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from elman_models.plans.fused_cells import LayerWeights
from elman_models.spec import Cell, ModelSpec

_OPERATORS = {Cell.LSTM: "LSTM", Cell.GRU: "GRU", Cell.RNN_TANH: "RNN", Cell.RNN_RELU: "RNN"}
_GATES = {Cell.LSTM: (0, 3, 1, 2), Cell.GRU: (1, 0, 2)}
"""ONNX's order of torch's gates: i, o, f, c of i, f, g, o; and z, r, h of r, z, n."""


def build_graph(spec: ModelSpec, rnn: nn.RNNBase) -> onnx.ModelProto:
    """Inputs x [T, B, input_size], h and for an LSTM c [num_layers, B, hidden_size]; outputs y [T, B, hidden_size],
    h_n, c_n. `rnn` has one direction and no projection."""
    names = ("h", "c") if spec.has_cell_state else ("h",)
    layers = range(spec.num_layers)
    axis = numpy_helper.from_array(np.array([1], np.int64), "direction")
    weights = [tensor for layer in layers for tensor in _initializers(spec.cell, LayerWeights.of(rnn, layer), layer)]
    nodes = [
        helper.make_node("Split", [n], [f"{n}{i}" for i in layers], axis=0, num_outputs=len(layers)) for n in names
    ]
    nodes += [node for layer in layers for node in _layer(spec, names, layer)]
    nodes += [helper.make_node("Concat", [f"{n}_n{i}" for i in layers], [f"{n}_n"], axis=0) for n in names]
    inputs = [_float("x", ["T", "B", spec.input_size])]
    inputs += [_float(name, [spec.num_layers, "B", spec.hidden_size]) for name in names]
    outputs = [_float(f"y{layers[-1]}", ["T", "B", spec.hidden_size])]
    outputs += [_float(f"{name}_n", [spec.num_layers, "B", spec.hidden_size]) for name in names]
    graph = helper.make_graph(nodes, "stack", inputs, outputs, [axis, *weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _layer(spec: ModelSpec, names: tuple[str, ...], layer: int) -> list[onnx.NodeProto]:
    source = f"y{layer - 1}" if layer else "x"
    inputs = [source, f"W{layer}", f"R{layer}", f"B{layer}", "", *(f"{name}{layer}" for name in names)]
    outputs = [f"Y{layer}", *(f"{name}_n{layer}" for name in names)]
    cell = helper.make_node(_OPERATORS[spec.cell], inputs, outputs)
    cell.attribute.append(helper.make_attribute("hidden_size", spec.hidden_size))
    if spec.cell is Cell.GRU:  # the recurrent bias of n is inside the reset, as in torch
        cell.attribute.append(helper.make_attribute("linear_before_reset", 1))
    if spec.cell is Cell.RNN_RELU:
        cell.attribute.append(helper.make_attribute("activations", ["Relu"]))
    return [cell, helper.make_node("Squeeze", [f"Y{layer}", "direction"], [f"y{layer}"])]


def _initializers(cell: Cell, w: LayerWeights, layer: int) -> list[onnx.TensorProto]:
    zeros = torch.zeros(len(w.ih))
    biases = torch.cat([_reorder(cell, zeros if b is None else b) for b in (w.b_ih, w.b_hh)])
    arrays = {"W": _reorder(cell, w.ih), "R": _reorder(cell, w.hh), "B": biases}
    return [numpy_helper.from_array(a[None].numpy(), f"{name}{layer}") for name, a in arrays.items()]


def _reorder(cell: Cell, tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` [num_gates * hidden_size, ...] with its blocks in ONNX's order."""
    blocks = tensor.chunk(cell.num_gates)
    return torch.cat([blocks[gate] for gate in _GATES.get(cell, (0,))])


def _float(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
