"""The vocabulary: every operation that a node may be. It is closed; a new one is a class and a line here."""

from collections.abc import Mapping

from pydantic import ValidationError

from elman_models.graph.operations import activations, arithmetic, norms, reductions, shapes, time
from elman_models.graph.operations.causal import CausalConv1d
from elman_models.graph.operations.cells import Cell
from elman_models.graph.operations.convolutions import Conv, Pool
from elman_models.graph.operations.operation import Operation
from elman_models.graph.operations.products import Constant, Embedding, Linear, Matmul
from elman_models.graph.operations.recurrences import Recurrence
from elman_models.graph.operations.reset_before import GruResetBefore

OPERATIONS: dict[str, type[Operation]] = {
    **dict.fromkeys(activations.PLAIN, activations.Plain),
    **dict.fromkeys(activations.NUMERIC, activations.Numeric),
    "leaky_relu": activations.LeakyRelu,
    **dict.fromkeys(("elu", "celu"), activations.Elu),
    "gelu": activations.Gelu,
    "softplus": activations.Softplus,
    "hardtanh": activations.Hardtanh,
    **dict.fromkeys(("hardshrink", "softshrink"), activations.Shrink),
    "threshold": activations.Threshold,
    "prelu": activations.Prelu,
    **dict.fromkeys(arithmetic.ARITHMETIC, arithmetic.Arithmetic),
    **dict.fromkeys(arithmetic.COMPARISONS, arithmetic.Comparison),
    **dict.fromkeys(arithmetic.LOGIC, arithmetic.Logic),
    "logical_not": arithmetic.LogicalNot,
    "where": arithmetic.Where,
    "clamp": arithmetic.Clamp,
    "scale": arithmetic.Scale,
    "cast": arithmetic.Cast,
    "reshape": shapes.Reshape,
    "permute": shapes.Permute,
    "expand": shapes.Expand,
    "concat": shapes.Concat,
    "slice": shapes.Slice,
    "select": shapes.Select,
    "split": shapes.Split,
    "stack": shapes.Stack,
    "pad": shapes.Pad,
    "flip": shapes.Flip,
    **dict.fromkeys(reductions.REDUCTIONS, reductions.Reduction),
    **dict.fromkeys(reductions.ARGUMENTS, reductions.Argument),
    **dict.fromkeys(reductions.ALONG, reductions.Along),
    "top_k": reductions.TopK,
    "glu": reductions.Glu,
    "one_hot": reductions.OneHot,
    "layer_norm": norms.LayerNorm,
    "rms_norm": norms.RmsNorm,
    "group_norm": norms.GroupNorm,
    "batch_norm": norms.BatchNorm,
    "affine": norms.Affine,
    "linear": Linear,
    "embedding": Embedding,
    "matmul": Matmul,
    "constant": Constant,
    **dict.fromkeys(("conv1d", "conv2d"), Conv),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d"), Pool),
    **dict.fromkeys(("rnn_tanh", "rnn_relu", "lstm", "gru"), Recurrence),
    **dict.fromkeys(("rnn_tanh_cell", "rnn_relu_cell", "lstm_cell", "gru_cell"), Cell),
    "gru_reset_before": GruResetBefore,
    "causal_conv1d": CausalConv1d,
    "each_step": time.EachStep,
    **dict.fromkeys(("last", "first", "time_sum", "time_mean", "time_amax"), time.OverTime),
    **dict.fromkeys(("time_flip", "time_softmax", "time_cumsum"), time.AlongTime),
    "time_conv1d": time.TimeConv1d,
    "time_attention": time.TimeAttention,
}
"""By name."""


def operation_of(op: str, parameters: Mapping[str, object]) -> Operation:
    """The operation `op` with its parameters.

    Raises:
        ValueError: no such operation, or parameters that are unknown, missing or of a wrong type.
    """
    kind = OPERATIONS.get(op)
    if kind is None:
        raise ValueError(f"no operation is called {op!r}; there are {', '.join(sorted(OPERATIONS))}")
    if "op" in parameters:
        raise ValueError(f"parameters.op: unknown; known are {_known(kind)}")
    try:
        return kind.model_validate({**parameters, "op": op})
    except ValidationError as error:
        raise ValueError("; ".join(_line(kind, e["loc"], e["type"], e["msg"]) for e in error.errors())) from error


def _line(kind: type[Operation], loc: tuple[int | str, ...], problem: str, message: str) -> str:
    field = ".".join(str(part) for part in loc)
    if problem == "missing":
        return f"parameters.{field}: is missing"
    if problem == "extra_forbidden":
        return f"parameters.{field}: unknown; known are {_known(kind)}"
    return f"parameters.{field}: {message[0].lower()}{message[1:]}"


def _known(kind: type[Operation]) -> str:
    return ", ".join(name for name in kind.model_fields if name != "op") or "none"
