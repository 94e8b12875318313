"""What onnxruntime gives for a file that was read: what a bundle is held against."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from elman_models.export.refusals import ExportError
from elman_models.from_onnx.graph import OnnxGraph
from elman_models.from_onnx.module import output_name

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession


class OnnxRuntime:
    """The file in onnxruntime, on the CPU and one thread, with its sizes left open."""

    def __init__(self, graph: OnnxGraph, model: "ModelProto") -> None:
        """Takes `model`, whose tensors are all in it: onnxruntime opens no file. It is loaded when it is first run."""
        self._graph = graph
        self._model = model

    @cached_property
    def _session(self) -> "InferenceSession":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            data = _opened(self._model, self._graph).SerializeToString()
            return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of classes that are not public
            raise ExportError(f"onnxruntime does not take the file: {_first(error)}") from error

    def __call__(self, given: Sequence[object]) -> Mapping[str, torch.Tensor]:
        """The outputs by name, for the one argument that the module takes: tensors by the inputs' names."""
        (inputs,) = given
        if not isinstance(inputs, Mapping):
            raise TypeError(f"expected tensors by name, got {type(inputs).__name__}")
        feeds = {one.name: _array(inputs[output_name(one.name)], one.dtype) for one in self._graph.inputs}
        for name, parts in self._graph.joined_inputs.items():
            feeds[name] = np.concatenate([feeds.pop(part) for part in parts])
        try:
            names = [one.name for one in self._session.get_outputs()]
            results = dict(zip(names, self._session.run(names, feeds), strict=True))
        except Exception as error:  # of classes that are not public
            raise ExportError(f"onnxruntime cannot run the file: {_first(error)}") from error
        for name, parts in self._graph.joined_outputs.items():
            results |= zip(parts, np.split(results[name], len(parts)), strict=True)
        return {output_name(name): torch.from_numpy(results[name]) for name in self._graph.outputs}


def _array(tensor: object, dtype: np.dtype[np.generic]) -> np.ndarray:
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"expected a tensor, got {type(tensor).__name__}")
    return tensor.detach().numpy().astype(dtype)


def _opened(model: "ModelProto", graph: OnnxGraph) -> "ModelProto":
    """With no size of inputs and outputs fixed: other batches and lengths are run than the file was written with."""
    opened = type(model)()
    opened.CopyFrom(model)
    for value in (*opened.graph.input, *opened.graph.output):
        if value.name not in graph.constants:
            for dim in value.type.tensor_type.shape.dim:
                dim.Clear()
    del opened.graph.value_info[:]
    return opened


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0][:300]
