"""Products, shapes, reductions and windows over the features of a step, said in ONNX."""

from typing import cast

import torch

from elman_models.graph.in_onnx.elementwise import Emit, Results
from elman_models.graph.in_onnx.records import Said
from elman_models.graph.operations import reductions, shapes
from elman_models.graph.operations.convolutions import Conv, Pool
from elman_models.graph.operations.operation import axis_of
from elman_models.graph.operations.products import Matmul

_REDUCTIONS = {"sum": "ReduceSum", "mean": "ReduceMean", "amax": "ReduceMax", "amin": "ReduceMin"}


def linear(said: Said, x: str, weight: torch.Tensor, bias: torch.Tensor | None) -> str:
    """[N, out_features] of `x` [N, in_features]."""
    inputs = [said.graph.tensor(one) for one in (weight, bias) if one is not None]
    return said.graph.add("Gemm", x, *inputs, transB=1)


def _linear(said: Said) -> Results:
    weight, bias = said.weights["weight"], said.weights.get("bias")
    if len(said.values[0].features) == 1:
        return (linear(said, said.inputs[0], weight, bias),)
    y = said.graph.add("MatMul", said.inputs[0], said.graph.tensor(weight.T))
    return (y,) if bias is None else said.add("Add", y, said.graph.tensor(bias))


def _embedding(said: Said) -> Results:
    return said.add("Gather", said.graph.tensor(said.weights["weight"]), said.inputs[0], axis=0)


def _matmul(said: Said) -> Results:
    operation = cast(Matmul, said.operation)
    left, right = operation.matrices(said.values)
    a, b = said.reshaped(0, left), said.reshaped(1, right)
    if operation.transpose:
        rank = len(right) + said.values[1].has_batch
        b = said.graph.add("Transpose", b, perm=[*range(rank - 2), rank - 1, rank - 2])
    y = said.graph.add("MatMul", a, b)
    return said.add("Reshape", y, said.graph.shape(said.result.features))


def _reshape(said: Said) -> Results:
    return (said.reshaped(0, said.result.features),)


def _permute(said: Said) -> Results:
    rank = len(said.values[0].features) + 1
    order = [rank + axis_of(axis, said.values[0]) for axis in cast(shapes.Permute, said.operation).axes]
    return said.add("Transpose", said.inputs[0], perm=[0, *order])


def _expand(said: Said) -> Results:
    features = said.result.features
    narrow = said.reshaped(0, (1,) * (len(features) - len(said.values[0].features)) + said.values[0].features)
    return said.add("Expand", narrow, said.graph.ints(1, *features))


def _concat(said: Said) -> Results:
    said.require(all(value.has_batch for value in said.values), "a constant among what is put together")
    return said.add("Concat", *said.inputs, axis=axis_of(cast(shapes.Concat, said.operation).axis, said.values[0]))


def _slice(said: Said) -> Results:
    operation, graph = cast(shapes.Slice, said.operation), said.graph
    axis, taken = axis_of(operation.axis, said.values[0]), operation.taken(said.values[0])
    return said.add("Slice", said.inputs[0], *(graph.ints(one) for one in (taken.start, taken.stop, axis, taken.step)))


def _select(said: Said) -> Results:
    operation, value = cast(shapes.Select, said.operation), said.values[0]
    axis = axis_of(operation.axis, value)
    index = operation.index % value.features[axis]
    return said.add("Gather", said.inputs[0], said.graph.array(torch.tensor(index).numpy()), axis=axis)


def _split(said: Said) -> Results:
    operation = cast(shapes.Split, said.operation)
    sizes, axis = said.graph.ints(*operation.sizes), axis_of(operation.axis, said.values[0])
    return said.graph.several("Split", len(operation.sizes), said.inputs[0], sizes, axis=axis)


def _stack(said: Said) -> Results:
    operation, rank = cast(shapes.Stack, said.operation), len(said.values[0].features) + 1
    axis = operation.axis - rank if operation.axis >= 0 else operation.axis
    where = said.graph.ints(axis)
    return said.add("Concat", *(said.graph.add("Unsqueeze", one, where) for one in said.inputs), axis=axis)


def _pad(said: Said) -> Results:
    operation, graph = cast(shapes.Pad, said.operation), said.graph
    axis = axis_of(operation.axis, said.values[0])
    pads = graph.ints(operation.before, operation.after)
    return said.add("Pad", said.inputs[0], pads, graph.number(operation.value), graph.ints(axis))


def _reduction(said: Said) -> Results:
    operation = cast(reductions.Reduction, said.operation)
    axes = said.graph.ints(*(axis_of(axis, said.values[0]) for axis in operation.axes))
    return said.add(_REDUCTIONS[operation.op], said.inputs[0], axes, keepdims=int(operation.keepdim))


def _softmax(said: Said) -> Results:
    operation = cast(reductions.Along, said.operation)
    op = {"softmax": "Softmax", "log_softmax": "LogSoftmax"}[operation.op]
    return said.add(op, said.inputs[0], axis=axis_of(operation.axis, said.values[0]))


def _glu(said: Said) -> Results:
    axis = axis_of(cast(reductions.Glu, said.operation).axis, said.values[0])
    first, second = said.graph.several("Split", 2, said.inputs[0], axis=axis, num_outputs=2)
    return said.add("Mul", first, said.graph.add("Sigmoid", second))


def _conv(said: Said) -> Results:
    operation = cast(Conv, said.operation)
    tensors = [said.weights["weight"], *([said.weights["bias"]] if "bias" in said.weights else [])]
    return said.add(
        "Conv",
        said.inputs[0],
        *(said.graph.tensor(one) for one in tensors),
        kernel_shape=operation.kernel_size,
        strides=operation.strides,
        pads=_both_ends(operation),
        dilations=operation.dilation or (1,) * operation.rank,
        group=operation.groups,
    )


def _pool(said: Said) -> Results:
    operation = cast(Pool, said.operation)
    sizes = {"kernel_shape": operation.kernel_size, "strides": operation.strides, "pads": _both_ends(operation)}
    if operation.op.startswith("avg"):
        return said.add("AveragePool", said.inputs[0], **sizes, count_include_pad=1)
    return said.add("MaxPool", said.inputs[0], **sizes, dilations=operation.dilation or (1,) * operation.rank)


def _both_ends(operation: Conv | Pool) -> tuple[int, ...]:
    padding = operation.padding or (0,) * operation.rank
    return (*padding, *padding)


EMITTERS: dict[str, Emit] = {
    "linear": _linear,
    "embedding": _embedding,
    "matmul": _matmul,
    "reshape": _reshape,
    "permute": _permute,
    "expand": _expand,
    "concat": _concat,
    "slice": _slice,
    "select": _select,
    "split": _split,
    "stack": _stack,
    "pad": _pad,
    **dict.fromkeys(_REDUCTIONS, _reduction),
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
    "glu": _glu,
    **dict.fromkeys(("conv1d", "conv2d"), _conv),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d"), _pool),
}
"""By the vocabulary's names. Not here: what gives places (`argmax`, `top_k`), where a rounding decides between two."""
OF_ANY_DTYPE = {"reshape", "permute", "expand", "concat", "slice", "select", "split", "stack", "each_step"}
"""Those that may be given ids as well; `embedding` has to be."""
