"""A recurrent stack as an ONNX graph, built from the weights: no tracing, no export (operators: ONNX opset 18)."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from elman_models.plans.fused_cells import LayerWeights
from elman_models.plans.ort_cells import OPERATORS, Attribute, attributes, layer_arrays
from elman_models.spec import ModelSpec

OPSET, IR_VERSION = 18, 9


def build_graph(spec: ModelSpec, rnn: nn.RNNBase) -> onnx.ModelProto:
    """Inputs x [T, B, input_size], h and for an LSTM c [num_layers, B, hidden_size]; outputs y [T, B, hidden_size],
    h_n, c_n. `rnn` has one direction and no projection."""
    names = ("h", "c") if spec.has_cell_state else ("h",)
    layers = range(spec.num_layers)
    axis = numpy_helper.from_array(np.array([1], np.int64), "direction")
    weights = [tensor for layer in layers for tensor in _initializers(spec, rnn, layer)]
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
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def make_node(
    op: str, inputs: Sequence[str], outputs: Sequence[str], attributes: Mapping[str, Attribute]
) -> onnx.NodeProto:
    """An operator with its attributes."""
    node = helper.make_node(op, inputs, outputs)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    return node


def _layer(spec: ModelSpec, names: tuple[str, ...], layer: int) -> list[onnx.NodeProto]:
    source = f"y{layer - 1}" if layer else "x"
    inputs = [source, f"W{layer}", f"R{layer}", f"B{layer}", "", *(f"{name}{layer}" for name in names)]
    outputs = [f"Y{layer}", *(f"{name}_n{layer}" for name in names)]
    cell = make_node(OPERATORS[spec.cell], inputs, outputs, attributes(spec))
    return [cell, helper.make_node("Squeeze", [f"Y{layer}", "direction"], [f"y{layer}"])]


def _initializers(spec: ModelSpec, rnn: nn.RNNBase, layer: int) -> list[onnx.TensorProto]:
    arrays = layer_arrays(spec.cell, LayerWeights.of(rnn, layer))
    return [numpy_helper.from_array(array, f"{name}{layer}") for name, array in arrays.items()]


def _float(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
