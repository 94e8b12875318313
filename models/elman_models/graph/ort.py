"""The plan that runs a whole streaming graph in onnxruntime: one call, not one for each node. An optional extra."""

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from elman_models.graph.in_onnx.records import OnnxGraph, Tensor
from elman_models.graph.inputs import PackedInputs
from elman_models.graph.spec import GraphSpec
from elman_models.graph.state import GraphState
from elman_models.plans.ort import session_options
from elman_models.plans.ort_graph import IR_VERSION, OPSET, make_node


class OrtGraphPlan:
    """Equally long rows, all outputs. Tensors pass as NumPy views, without copies."""

    def __init__(self, name: str, spec: GraphSpec, graph: OnnxGraph) -> None:
        """Copies the weights of `graph`, which says `spec`, into an onnxruntime session; as many threads as torch has
        now."""
        self.name = name
        self._session = onnxruntime.InferenceSession(
            onnx_model(graph).SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
        )
        self._given = [one.name for one in graph.inputs]
        self._ends = [one.name for one in graph.outputs]
        self._outputs = [output.name for output in spec.outputs]

    def run(self, inputs: PackedInputs, state: GraphState) -> tuple[dict[str, torch.Tensor], GraphState]:
        """See `WholePlan.run`."""
        tensors = (*inputs.data, *state.tensors)
        feed = {name: tensor.numpy() for name, tensor in zip(self._given, tensors, strict=True)}
        results: list[np.ndarray] = self._session.run(self._ends, feed)
        given = list(map(torch.from_numpy, results))
        count = len(self._outputs)
        return dict(zip(self._outputs, given, strict=False)), GraphState(state.layout, tuple(given[count:]))


def onnx_model(graph: OnnxGraph) -> onnx.ModelProto:
    """The records as onnx has them."""
    nodes = [make_node(*one) for one in graph.nodes]
    weights = [numpy_helper.from_array(array, name) for name, array in graph.weights.items()]
    inputs, outputs = map(_infos, (graph.inputs, graph.outputs))
    whole = helper.make_graph(nodes, "graph", inputs, outputs, weights)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _infos(tensors: list[Tensor]) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(name, TensorProto.INT64 if is_ids else TensorProto.FLOAT, shape)
        for name, shape, is_ids in tensors
    ]
