"""Recurrences, causal convolutions and `each_step`, said in ONNX: of equally long rows."""

from typing import cast

from elman_models.graph.in_onnx.elementwise import Emit, Results
from elman_models.graph.in_onnx.features import linear
from elman_models.graph.in_onnx.records import NotCoveredError, Said
from elman_models.graph.operations.causal import CausalConv1d
from elman_models.graph.operations.recurrences import Recurrence
from elman_models.plans.fused_cells import LayerWeights
from elman_models.plans.ort_cells import OPERATORS, attributes, layer_arrays

_END = 2**31
"""Of a slice: to the end."""


def _recurrence(said: Said) -> Results:
    operation, graph = cast(Recurrence, said.operation), said.graph
    size = said.values[0].features[0]
    spec, layers = operation.spec(size), range(operation.num_layers)
    said.require(not spec.proj_size, "a projection, which onnxruntime's LSTM has not")
    if said.rnn is None:
        raise NotCoveredError("no weights")
    begin = [_layers(said, state, len(layers)) for state in said.states]  # by state, then by layer
    x, ends = graph.by_time(said.inputs[0], (size,)), []
    for layer in layers:
        arrays = layer_arrays(spec.cell, LayerWeights.of(said.rnn, layer))
        weights = [graph.array(arrays[name]) for name in ("W", "R", "B")]
        inputs = [x, *weights, "", *(state[layer] for state in begin)]
        y, *after = graph.several(OPERATORS[spec.cell], 1 + len(begin), *inputs, **attributes(spec))
        ends.append(after)
        if layer != layers[-1]:
            x = graph.add("Squeeze", y, graph.ints(1))
    output = graph.add("Reshape", y, graph.shape((spec.hidden_size,)))  # [steps, 1, rows, hidden_size]
    after = [one[0] if len(one) == 1 else graph.add("Concat", *one, axis=0) for one in zip(*ends, strict=True)]
    return (output, *after)


def _layers(said: Said, state: str, count: int) -> tuple[str, ...]:
    if count == 1:
        return (state,)
    return said.graph.several("Split", count, state, axis=0, num_outputs=count)


def _causal_conv(said: Said) -> Results:
    operation, graph = cast(CausalConv1d, said.operation), said.graph
    channels = said.values[0].features[0]
    if not operation.lookback:
        said.require(operation.groups == 1, "groups without a look back")
        return (linear(said, said.inputs[0], said.weights["weight"].flatten(1), said.weights.get("bias")),)
    x = graph.by_time(said.inputs[0], (channels,))
    if operation.groups > 1:
        return _convolved(said, graph.add("Transpose", x, perm=[1, 2, 0]))
    seen = graph.add("Concat", graph.add("Transpose", said.states[0], perm=[2, 0, 1]), x, axis=0)
    ends = [step * operation.dilation - operation.lookback for step in range(operation.kernel_size)]
    parts = [
        _cut(said, seen, step * operation.dilation, end or _END, axis=0) for step, end in enumerate(ends)
    ]  # what each place of the kernel sees, [steps, rows, channels]
    window = graph.add("Concat", *parts, axis=2)
    flat = graph.add("Reshape", window, graph.shape((channels * operation.kernel_size,)))
    weight = said.weights["weight"].permute(0, 2, 1).flatten(1)
    last = _cut(said, seen, -operation.lookback, _END, axis=0)
    return (
        linear(said, flat, weight, said.weights.get("bias")),
        graph.add("Transpose", last, perm=[1, 2, 0]),
    )


def _convolved(said: Said, x: str) -> Results:
    """Of `x` [rows, channels, steps], in groups."""
    operation, graph = cast(CausalConv1d, said.operation), said.graph
    seen = graph.add("Concat", said.states[0], x, axis=2)
    tensors = [graph.tensor(said.weights[name]) for name in ("weight", "bias") if name in said.weights]
    sizes = {"kernel_shape": [operation.kernel_size], "dilations": [operation.dilation]}
    y = graph.add("Conv", seen, *tensors, **sizes, group=operation.groups)
    by_step = graph.add("Transpose", y, perm=[2, 0, 1])
    last = _cut(said, seen, -operation.lookback, _END, axis=2)
    return graph.add("Reshape", by_step, graph.shape((operation.out_channels,))), last


def _cut(said: Said, tensor: str, begin: int, end: int, *, axis: int) -> str:
    return said.graph.add("Slice", tensor, *(said.graph.ints(one) for one in (begin, end, axis)))


def _each_step(said: Said) -> Results:
    graph, features = said.graph, said.result.features
    shape = [graph.steps_and_rows(), *([graph.ints(*features)] if features else [])]
    whole = graph.add("Concat", *shape, axis=0) if len(shape) > 1 else shape[0]
    return said.add("Reshape", graph.add("Expand", said.inputs[0], whole), graph.shape(features))


EMITTERS: dict[str, Emit] = {
    **dict.fromkeys(("rnn_tanh", "rnn_relu", "lstm", "gru"), _recurrence),
    "causal_conv1d": _causal_conv,
    "each_step": _each_step,
}
"""By the vocabulary's names."""
