"""A torch LSTM as an onnxruntime session, one step at a time: seq-first, states in and out."""

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


def onnx_session(module: torch.nn.LSTM) -> onnxruntime.InferenceSession:
    """Inputs x [T, B, input_size], h_0 and c_0 of each layer [1, B, hidden_size]; outputs y and each layer's states."""
    layers = range(module.num_layers)
    nodes = [node for layer in layers for node in _layer(layer, module.hidden_size)]
    weights = [tensor for layer in layers for tensor in _weights(module, layer)]
    graph = helper.make_graph(nodes, "lstm", _inputs(module), _outputs(module), weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _layer(layer: int, hidden_size: int) -> list[onnx.NodeProto]:
    # ONNX gives [T, directions, B, hidden_size]; the axis of directions, of which there is one, goes.
    given = [f"y{layer - 1}" if layer else "x", f"w{layer}", f"r{layer}", f"b{layer}", "", f"h{layer}", f"c{layer}"]
    lstm = helper.make_node("LSTM", given, [f"Y{layer}", f"hn{layer}", f"cn{layer}"], hidden_size=hidden_size)
    squeeze = helper.make_node("Squeeze", [f"Y{layer}", "axes"], [f"y{layer}"])
    return [lstm, squeeze]


def _weights(module: torch.nn.LSTM, layer: int) -> list[onnx.TensorProto]:
    own = {name: getattr(module, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    biases = np.concatenate([_gates(own["bias_ih"]), _gates(own["bias_hh"])])
    arrays = {"w": _gates(own["weight_ih"]), "r": _gates(own["weight_hh"]), "b": biases}
    tensors = [numpy_helper.from_array(array[None], f"{name}{layer}") for name, array in arrays.items()]
    return tensors if layer else [numpy_helper.from_array(np.array([1], np.int64), "axes"), *tensors]


def _gates(tensor: torch.Tensor) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    # torch has input, forget, cell, output; ONNX input, output, forget, cell.
    i, f, g, o = tensor.detach().chunk(4)
    return torch.cat([i, o, f, g]).numpy()


def _inputs(module: torch.nn.LSTM) -> list[onnx.ValueInfoProto]:
    states = [_value(f"{name}{layer}", 1, module.hidden_size) for layer in range(module.num_layers) for name in "hc"]
    return [_value("x", "T", module.input_size), *states]


def _outputs(module: torch.nn.LSTM) -> list[onnx.ValueInfoProto]:
    layers = range(module.num_layers)
    states = [_value(f"{name}n{layer}", 1, module.hidden_size) for layer in layers for name in "hc"]
    return [_value(f"y{module.num_layers - 1}", "T", module.hidden_size), *states]


def _value(name: str, steps: int | str, size: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [steps, "B", size])
