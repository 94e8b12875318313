"""Each operator of ONNX that a bundle may have, beside a recurrence or alone, held against onnxruntime."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_files import Shape, graph, node, save, weights

from elman_models import PackedModule, pack_onnx
from elman_models.from_onnx.operators import OPERATORS

BATCH_FIRST: dict[str, Shape] = {"x": ("batch", "length", 4)}
MATRIX = np.random.default_rng(3).standard_normal((4, 3)).astype(np.float32)
ROW = np.array([0.5, -1.0, 2.0, 0.25], np.float32)

Nodes = Sequence[onnx.NodeProto]
Case = tuple[Nodes, Sequence[str], dict[str, Any], int]
"""Nodes, outputs, constants and the version of operators."""


def packed(model: onnx.ModelProto, folder: Path) -> PackedModule:
    return pack_onnx(save(model, folder), out=folder / "m", name="m", quiet=True)


def _unary(ops: str, positive: bool = False, **attributes: Any) -> list[onnx.NodeProto]:
    given = "p" if positive else "x"
    return [node(op, given, f"o_{op}", **attributes) for op in ops.split()]


FUNCTIONS = [
    *_unary("Relu Tanh Sigmoid Softplus Softsign HardSwish Mish Exp Neg Abs Sign Floor Ceil Round Erf Sin Cos Atan"),
    *_unary("Tan Selu HardSigmoid Gelu Identity Dropout LeakyRelu Elu Celu"),
    node("Abs", "x", "p0"),
    node("Add", "p0 half", "p"),
    *_unary("Log Sqrt Reciprocal", positive=True),
    node("LeakyRelu", "x", "o_leaky", alpha=0.3),
    node("Elu", "x", "o_elu", alpha=0.5),
    node("Selu", "x", "o_selu", alpha=1.2, gamma=0.9),
    node("HardSigmoid", "x", "o_hard", alpha=0.3, beta=0.4),
    node("Gelu", "x", "o_gelu", approximate="tanh"),
    node("Clip", "x low high", "o_clip"),
    node("Clip", "x low", "o_low"),
    node("PRelu", "x row", "o_prelu"),
    node("LogSoftmax", "x", "o_log_softmax"),
    node("Softmax", "x", "o_softmax", axis=2),
]
PAIRS = [
    *(node(op, "x row", f"o_{op}") for op in ("Add", "Sub", "Mul", "Div", "Min", "Max")),
    node("Sub", "one x", "o_rsub"),
    node("Sum", "x row x", "o_sum"),
    node("Pow", "x two", "o_pow"),
    node("Greater", "x half", "more"),
    node("Less", "x minus", "less"),
    node("GreaterOrEqual", "x x", "same"),
    node("LessOrEqual", "x half", "most"),
    node("Equal", "x x", "equal"),
    node("Or", "more less", "outside"),
    node("And", "outside same", "both"),
    node("And", "both equal", "all"),
    node("Not", "all", "inside"),
    node("Or", "inside most", "either"),
    node("Where", "either x row", "o_where"),
    node("Cast", "inside", "o_cast", to=1),
    node("CastLike", "inside x", "o_like"),
]
PARTS = [
    node("Concat", "x row_of_x x", "o_concat", axis=-1),
    node("Mul", "x row", "row_of_x"),
    node("Split", "x sizes", "s1 s2", axis=-1),
    node("Add", "s1 s2", "o_split"),
    node("Split", "x", "h1 h2", axis=2, num_outputs=2),
    node("Sub", "h1 h2", "o_halves"),
    node("Slice", "x one_ three last", "o_slice"),
    node("Slice", "x minus_one lowest last minus_one", "o_flip"),
    node("Gather", "x index", "o_gather", axis=2),
    node("Gather", "x picked", "o_picked", axis=2),
    node("Unsqueeze", "x last", "wide"),
    node("Concat", "wide wide", "pair", axis=3),
    node("ReduceMean", "pair last", "o_pair", keepdims=0),
    node("Squeeze", "wide last", "o_squeeze"),
    node("Reshape", "x apart", "halves"),
    node("Transpose", "halves", "turned", perm=[0, 1, 3, 2]),
    node("Reshape", "turned together", "o_reshape"),
    node("Expand", "narrow full", "o_wide"),
    node("ReduceMax", "x last", "narrow", keepdims=1),
    node("Tile", "x twice", "o_tile"),
    node("Pad", "x pads half", "o_pad"),
]
PARTS = sorted(PARTS, key=lambda n: n.op_type not in ("Mul", "ReduceMax"))  # each after what it needs
REDUCTIONS = [
    *(
        node(op, "x last", f"o_{op}", keepdims=k)
        for k, op in enumerate(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceLogSumExp"), 0)
        if k < 2
    ),
    *(node(op, "x last", f"o_{op}") for op in ("ReduceMax", "ReduceMin", "ReduceL2", "ReduceLogSumExp")),
    node("ReduceSumSquare", "x last", "o_squares", keepdims=0),
    node("ArgMax", "x", "o_argmax", axis=2, keepdims=0),
    node("ArgMin", "x", "o_argmin", axis=-1),
    node("TopK", "x two_", "o_top o_places", axis=-1),
    node("CumSum", "x axis", "o_cumsum"),
]
PRODUCTS = [
    node("MatMul", "x M", "o_matmul"),
    node("MatMul", "x M", "m2"),
    node("Add", "m2 b", "o_linear"),
    node("Reshape", "x flat", "rows"),
    node("Gemm", "rows M b", "g1"),
    node("Gemm", "rows M", "g2", alpha=0.5),
    node("Gemm", "rows Mt b", "g3", transB=1, beta=2.0),
    node("Add", "g1 g2", "g12"),
    node("Add", "g12 g3", "g"),
    node("Shape", "x", "sizes"),
    node("Slice", "sizes zero_ two_", "lead"),
    node("Concat", "lead three", "whole", axis=0),
    node("Reshape", "g whole", "o_gemm"),
    node("LayerNormalization", "x row row", "o_norm", epsilon=0.01),
    node("Unsqueeze", "x last", "wide"),
    node("Transpose", "x", "channels", perm=[0, 2, 1]),
    node("BatchNormalization", "channels row row row positive", "o_batch_norm", epsilon=0.001),
    node("Pad", "channels before", "longer"),
    node("Conv", "longer K b5", "o_conv", dilations=[2]),
]
CONSTANTS: dict[str, Any] = {
    "row": ROW, "positive": np.abs(ROW), "half": np.float32(0.5), "minus": np.float32(-0.5), "one": np.float32(1),
    "two": np.float32(2), "low": np.float32(-0.7), "high": np.float32(0.6), "last": [-1], "sizes": [1, 3],
    "one_": [1], "zero_": [0], "two_": [2], "three": [3], "minus_one": [-1], "lowest": [-(1 << 63)],
    "index": 2, "picked": [3, 0, -1], "apart": [0, 0, 2, 2], "together": [0, 0, 4], "full": [1, 1, 4],
    "twice": [1, 1, 2], "pads": [0, 0, 1, 0, 0, 2], "axis": 2, "M": MATRIX, "Mt": MATRIX.T.copy(),
    "b": np.array([1.0, 2.0, 3.0], np.float32), "b5": np.arange(5, dtype=np.float32), "flat": [-1, 4],
    "before": [0, 0, 4, 0, 0, 0], "K": np.random.default_rng(4).standard_normal((5, 4, 3)).astype(np.float32),
}  # fmt: skip
PLACES = ("o_argmax", "o_argmin", "o_places")
GROUPS: dict[str, Nodes] = {
    "functions of a number": FUNCTIONS,
    "functions of two numbers": PAIRS,
    "parts and shapes": PARTS,
    "reductions": REDUCTIONS,
    "products": PRODUCTS,
}


def made_of(nodes: Nodes, opset: int = 20) -> onnx.ModelProto:
    outputs = [name for one in nodes for name in one.output if name.startswith("o_")]
    used = {name for one in nodes for name in one.input} - {name for one in nodes for name in one.output}
    constants = {name: value for name, value in CONSTANTS.items() if name in used}
    return graph(nodes, outputs, inputs=BATCH_FIRST, constants=constants, opset=opset, places=PLACES)


@pytest.mark.parametrize("group", GROUPS)
def test_operators_give_what_onnxruntime_gives(group: str, tmp_path: Path) -> None:
    made = packed(made_of(GROUPS[group]), tmp_path)
    assert made.differences.largest <= 1e-5
    assert made.spec.kind == "streaming"
    outputs = [name for one in GROUPS[group] for name in one.output if name.startswith("o_")]
    assert [one.name for one in made.spec.outputs] == outputs


def test_ids_go_to_a_table_or_become_vectors(tmp_path: Path) -> None:
    table = np.random.default_rng(5).standard_normal((9, 4)).astype(np.float32)
    nodes = [node("Gather", "table x", "vectors"), node("OneHot", "x nine values", "hot"),
             node("Concat", "vectors hot", "y", axis=-1)]  # fmt: skip
    constants = {"table": table, "nine": [9], "values": np.array([0, 1], np.float32)}
    model = graph(nodes, ["y"], inputs={"x": ("batch", "length")}, ids=["x"], constants=constants)
    made = packed(model, tmp_path)
    assert [(one.dtype, one.num_embeddings) for one in made.spec.inputs] == [("int64", 9)]
    assert made.differences.largest <= 1e-5


OLD: dict[str, tuple[int, Nodes]] = {
    "attributes of version 8": (
        8,
        [
            node("Slice", "x", "part", axes=[2], starts=[1], ends=[4]),
            node("Clip", "part", "cut", min=-0.5, max=0.5),
            node("Unsqueeze", "cut", "wide", axes=[3]),
            node("Squeeze", "wide", "thin", axes=[3]),
            node("Pad", "thin", "o_pad", pads=[0, 0, 1, 0, 0, 0], value=0.5),
            node("Split", "x", "s1 s2", axis=2, split=[1, 3]),
            node("ReduceSum", "s2", "o_sum", axes=[-1], keepdims=0),
            node("Softmax", "x", "o_softmax", axis=2),
            node("Dropout", "s1", "o_same"),
        ],
    ),
    "attributes of version 12": (
        12,
        [
            node("Unsqueeze", "x", "wide", axes=[-1]),
            node("ReduceMean", "wide", "o_mean", axes=[3], keepdims=0),
            node("Clip", "x low high", "o_clip"),
            node("LogSoftmax", "x", "o_log", axis=-1),
        ],
    ),
}


@pytest.mark.parametrize("case", OLD)
def test_older_versions_have_as_attributes_what_are_inputs_now(case: str, tmp_path: Path) -> None:
    opset, nodes = OLD[case]
    assert packed(made_of(nodes, opset), tmp_path).differences.largest <= 1e-5


def test_every_operator_is_in_some_test() -> None:
    tried = {one.op_type for nodes in (*GROUPS.values(), *(nodes for _, nodes in OLD.values())) for one in nodes}
    elsewhere = {"OneHot", "ConstantOfShape", "Size", "Flatten", "RMSNormalization"}
    assert set(OPERATORS) == tried | elsewhere


def test_steps_of_a_whole_sequence_are_pooled(tmp_path: Path) -> None:
    nodes = [
        node("GRU", "x W R B", "all", hidden_size=5, linear_before_reset=1),
        node("Squeeze", "all one", "steps"),
        node("ReduceMean", "steps zero", "y", keepdims=0),
    ]
    made = packed(graph(nodes, ["y"], constants={**weights("GRU"), "one": [1], "zero": [0]}), tmp_path)
    assert (made.spec.kind, made.differences.largest <= 1e-5) == ("whole", True)
