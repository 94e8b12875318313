"""Recurrent PyTorch models for elman: bundles on disk, the stack that runs them, the pool of states.

Names are imported when first used, so that `elman_models.layout` and `elman_models.errors` come without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elman_models.bundle import (
        find_bundles,
        load,
        load_any,
        load_graph,
        read_any_spec,
        read_graph,
        read_spec,
        read_weights,
        write_bundle,
    )
    from elman_models.check import assumptions, describe
    from elman_models.comparison import Difference, compare
    from elman_models.errors import BundleError, GoldenError, SpecError, WeightsError
    from elman_models.export.packing import pack
    from elman_models.export.refusals import ExportError
    from elman_models.export.report import PackedModule
    from elman_models.export.stepping import pack_step
    from elman_models.from_keras.packing import pack_keras
    from elman_models.from_onnx.packing import pack_onnx
    from elman_models.from_pt2.packing import pack_pt2
    from elman_models.from_state_dict.checkpoint import Checkpoint, read_checkpoint
    from elman_models.from_state_dict.packing import Inferred, PackOptions, infer_model, infer_spec, read_state_dict
    from elman_models.golden import Golden, read_golden
    from elman_models.graph.description import describe_graph
    from elman_models.graph.drawing import dot, draw, mermaid
    from elman_models.graph.from_stack import graph_of
    from elman_models.graph.golden import compare_graph
    from elman_models.graph.inputs import PackedInputs
    from elman_models.graph.spec import GraphSpec, InputSpec, Node, OutputSpec, StateSpec
    from elman_models.graph.stack import GraphStack
    from elman_models.graph.state import GraphPool, GraphState
    from elman_models.hand_off_pack import StateFrom, declare_hand_off
    from elman_models.layout import batch_sizes
    from elman_models.packed import Packed
    from elman_models.spec import Cell, EmbeddingSpec, HeadSpec, ModelSpec
    from elman_models.stack import Stack
    from elman_models.state import State, StatePool

_MODULES = {
    "bundle": (
        "find_bundles",
        "load",
        "load_any",
        "load_graph",
        "read_any_spec",
        "read_graph",
        "read_spec",
        "read_weights",
        "write_bundle",
    ),
    "check": ("assumptions", "describe"),
    "comparison": ("Difference", "compare"),
    "errors": ("BundleError", "GoldenError", "SpecError", "WeightsError"),
    "export.packing": ("pack",),
    "export.refusals": ("ExportError",),
    "export.report": ("PackedModule",),
    "export.stepping": ("pack_step",),
    "from_keras.packing": ("pack_keras",),
    "from_onnx.packing": ("pack_onnx",),
    "from_pt2.packing": ("pack_pt2",),
    "from_state_dict.checkpoint": ("Checkpoint", "read_checkpoint"),
    "from_state_dict.packing": ("Inferred", "PackOptions", "infer_model", "infer_spec", "read_state_dict"),
    "golden": ("Golden", "read_golden"),
    "graph.description": ("describe_graph",),
    "graph.drawing": ("dot", "draw", "mermaid"),
    "graph.from_stack": ("graph_of",),
    "graph.golden": ("compare_graph",),
    "graph.inputs": ("PackedInputs",),
    "graph.spec": ("GraphSpec", "InputSpec", "Node", "OutputSpec", "StateSpec"),
    "graph.stack": ("GraphStack",),
    "graph.state": ("GraphPool", "GraphState"),
    "hand_off_pack": ("StateFrom", "declare_hand_off"),
    "layout": ("batch_sizes",),
    "packed": ("Packed",),
    "spec": ("Cell", "EmbeddingSpec", "HeadSpec", "ModelSpec"),
    "stack": ("Stack",),
    "state": ("State", "StatePool"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "BundleError",
    "Cell",
    "Checkpoint",
    "Difference",
    "EmbeddingSpec",
    "ExportError",
    "Golden",
    "GoldenError",
    "GraphPool",
    "GraphSpec",
    "GraphStack",
    "GraphState",
    "HeadSpec",
    "Inferred",
    "InputSpec",
    "ModelSpec",
    "Node",
    "OutputSpec",
    "PackOptions",
    "Packed",
    "PackedInputs",
    "PackedModule",
    "SpecError",
    "Stack",
    "State",
    "StateFrom",
    "StatePool",
    "StateSpec",
    "WeightsError",
    "assumptions",
    "batch_sizes",
    "compare",
    "compare_graph",
    "declare_hand_off",
    "describe",
    "describe_graph",
    "dot",
    "draw",
    "find_bundles",
    "graph_of",
    "infer_model",
    "infer_spec",
    "load",
    "load_any",
    "load_graph",
    "mermaid",
    "pack",
    "pack_keras",
    "pack_onnx",
    "pack_pt2",
    "pack_step",
    "read_any_spec",
    "read_checkpoint",
    "read_golden",
    "read_graph",
    "read_spec",
    "read_state_dict",
    "read_weights",
    "write_bundle",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
