"""What is wrong with an operation's inputs or parameters is said, before a number is computed."""

from typing import Any

import pytest

from elman_models.graph.operations import operation_of
from elman_models.graph.value import DType, Per, Value

STEP = Value((4,))

WRONG: list[tuple[str, dict[str, Any], list[Value], str]] = [
    ("relu", {}, [Value((4,), DType.INT64)], "expected float32, got int64"),
    ("relu", {"slope": 1.0}, [STEP], "parameters.slope: unknown; known are none"),
    ("linear", {}, [STEP], "parameters.out_features: is missing"),
    ("linear", {"out_features": 0}, [STEP], "parameters.out_features: "),
    ("linear", {"out_features": True}, [STEP], "parameters.out_features: "),
    ("linear", {"out_features": 1 << 40}, [STEP], "parameters.out_features: "),
    ("linear", {"out_features": 3}, [Value(())], "expected at least one axis"),
    ("softmax", {"axis": 1}, [STEP], r"axis: expected one of the 1 of \[4\], got 1"),
    ("leaky_relu", {"negative_slope": float("nan")}, [STEP], "parameters.negative_slope"),
    ("add", {}, [STEP, Value((3,))], r"features \[4\] and \[3\] do not go together"),
    ("add", {}, [STEP, Value((4,), per=Per.ROW)], "an `each_step` gives"),
    ("add", {}, [STEP, Value((4,), DType.INT64)], "second input's dtype: expected float32"),
    ("add", {"value": 1.0}, [STEP, STEP], "expected two inputs, or one and a `value`"),
    ("add", {}, [STEP], "expected two inputs, or one and a `value`"),
    ("add", {"value": 0.5}, [Value((4,), DType.INT64)], "expected an int"),
    ("div", {"value": 2}, [Value((4,), DType.INT64)], "expected float32, got int64"),
    ("clamp", {}, [STEP], "expected a `min` or a `max`"),
    ("reshape", {"features": [5]}, [STEP], "expected 4, got 5"),
    ("permute", {"axes": [0, 0]}, [Value((2, 3))], "each of the 2 once"),
    ("expand", {"features": [3, 5]}, [STEP], "cannot be expanded"),
    ("concat", {"axis": 0}, [Value((2, 3)), Value((2, 4))], "features beside axis 0"),
    ("slice", {"start": 4}, [STEP], "nothing is left"),
    ("select", {"index": 4}, [STEP], "index: expected one of 4"),
    ("split", {"sizes": [1, 2]}, [STEP], r"sum of sizes \[1, 2\]: expected 4, got 3"),
    ("stack", {}, [STEP, Value((3,))], "input's features"),
    ("sum", {"axes": [0, -1]}, [STEP], "one stands twice"),
    ("top_k", {"k": 5}, [STEP], "k: expected at most 4, got 5"),
    ("glu", {}, [Value((3,))], "expected an even size"),
    ("one_hot", {"num_classes": 3}, [Value((), DType.INT64)], "expected ids known to be in"),
    ("embedding", {"num_embeddings": 3, "embedding_dim": 2}, [Value((), DType.INT64, bound=4)], "may be up to 3"),
    ("embedding", {"num_embeddings": 3, "embedding_dim": 2}, [STEP], "expected int64"),
    ("layer_norm", {"normalized_shape": [3]}, [STEP], r"last features: expected \[3\], got \[4\]"),
    ("group_norm", {"num_groups": 3}, [STEP], "a multiple of 3"),
    ("affine", {"shape": [3]}, [STEP], "does not go with features"),
    ("matmul", {}, [Value((2, 3)), Value((4, 2))], "rows of the right input: expected 3, got 4"),
    ("conv1d", {"out_channels": 2, "kernel_size": [9]}, [Value((2, 4))], "is larger than features"),
    ("conv1d", {"out_channels": 2, "kernel_size": [3, 3]}, [Value((2, 4))], "number of sizes of kernel_size"),
    ("conv2d", {"out_channels": 2, "kernel_size": [3, 3]}, [Value((2, 4))], "number of axes"),
    ("conv1d", {"out_channels": 3, "kernel_size": [1], "groups": 2}, [Value((2, 4))], "groups: expected a divisor"),
    ("lstm", {"hidden_size": 3, "proj_size": 3}, [STEP], "must be smaller than hidden_size"),
    ("gru", {"hidden_size": 3, "proj_size": 2}, [STEP], "only lstm has a projection"),
    ("gru", {"hidden_size": 3}, [Value((2, 4))], "number of the input's axes"),
    ("lstm_cell", {"hidden_size": 3}, [STEP, Value((3,))], "number of inputs: expected 3, got 2"),
    ("gru_cell", {"hidden_size": 3}, [STEP, STEP], r"state's features: expected \[3\]"),
    ("causal_conv1d", {"out_channels": 2, "kernel_size": 3}, [Value((4,), per=Per.ROW)], "per: expected step, got row"),
    ("each_step", {}, [STEP], "per: expected row, got step"),
    ("last", {}, [Value((4,), per=Per.ROW)], "per: expected step, got row"),
    ("time_conv1d", {"out_channels": 2, "kernel_size": 3, "before": 1, "after": 0}, [STEP], "together: expected 2"),
    ("time_attention", {"num_heads": 3}, [STEP, STEP, STEP], "a multiple of 3 heads"),
    ("conv3d", {}, [STEP], "no operation is called 'conv3d'; there are abs, add"),
    ("relu", {"op": "exec"}, [STEP], "parameters.op: unknown"),
]


@pytest.mark.parametrize(("op", "parameters", "inputs", "message"), WRONG)
def test_what_an_operation_cannot_take_is_said(
    op: str, parameters: dict[str, Any], inputs: list[Value], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        operation_of(op, parameters).infer(inputs)
