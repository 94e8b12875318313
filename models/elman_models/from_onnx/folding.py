"""What a graph computes of constants alone, computed: exporters write shapes so."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from elman_models.export.refusals import ExportError
from elman_models.from_onnx.graph import Array, OnnxGraph, OnnxNode
from elman_models.from_onnx.module import PlainNode, as_operand
from elman_models.from_onnx.operators import OPERATORS
from elman_models.from_onnx.sizes import MAX_TOTAL, Operand, Sizes

MAX_NUMBERS = 1024
"""Of each operand: what is larger is weights."""


def folded(graph: OnnxGraph) -> OnnxGraph:
    """The same graph without the nodes whose operands are all known, and small.

    Raises:
        ExportError: one of them cannot be.
    """
    constants, nodes, total = dict(graph.constants), [], 0
    for node in graph.nodes:
        operands = [constants.get(name) for name in node.inputs if name]
        is_known = all(o is not None and o.size <= MAX_NUMBERS for o in operands)
        if node.op in OPERATORS and operands and is_known:
            computed = _computed(node, constants)
            total += sum(array.size for array in computed.values())
            if total > MAX_TOTAL:
                raise ExportError(f"{node}: with it {total} numbers of constants; expected at most {MAX_TOTAL}")
            constants |= computed
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _computed(node: OnnxNode, constants: Mapping[str, Array]) -> dict[str, Array]:
    given = [as_operand(constants[name]) if name else None for name in node.inputs]
    with torch.no_grad():
        results = PlainNode(node, constants).run(*given)
    return {name: _array(result) for name, result in zip(node.outputs, results, strict=False) if name}


def _array(result: Operand) -> Array:
    tensor = result.tensor() if isinstance(result, Sizes) else result
    return np.zeros(0, np.float32) if tensor is None else np.array(tensor.numpy())
