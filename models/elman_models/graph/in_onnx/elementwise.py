"""Functions of each number, arithmetic and normalisations, said in ONNX."""

from collections.abc import Callable
from typing import cast

import torch

from elman_models.graph.in_onnx.records import Said
from elman_models.graph.operations import activations, norms
from elman_models.graph.operations.arithmetic import Arithmetic, Clamp, Scale

Results = tuple[str, ...]
Emit = Callable[[Said], Results]
"""The results of a node, then its states after a step."""

LEAST_SOFTPLUS_THRESHOLD = 17.0
"""From here on log(1 + e^x), which is ONNX's everywhere, is x for float32."""

_SAME = {
    "relu": "Relu",
    "selu": "Selu",
    "mish": "Mish",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "hardswish": "HardSwish",
    "softsign": "Softsign",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "reciprocal": "Reciprocal",
    "sin": "Sin",
    "cos": "Cos",
    "tan": "Tan",
    "atan": "Atan",
    "erf": "Erf",
    "floor": "Floor",
    "ceil": "Ceil",
    "round": "Round",
    "neg": "Neg",
    "abs": "Abs",
    "sign": "Sign",
}
_TWO = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "maximum": "Max", "minimum": "Min"}


def _same(said: Said) -> Results:
    return said.add(_SAME[said.operation.op], said.inputs[0])


def _two(said: Said) -> Results:
    operation = cast(Arithmetic, said.operation)
    if operation.value is not None:
        return said.add(_TWO[operation.op], said.inputs[0], said.graph.number(operation.value))
    return said.add(_TWO[operation.op], *aligned(said))


def aligned(said: Said) -> list[str]:
    """The inputs with as many axes of features each, so that they broadcast though the batch's axis stands first."""
    rank = max(len(value.features) for value in said.values)
    return [
        said.reshaped(index, (1,) * (rank - len(value.features)) + value.features)
        if value.has_batch
        else said.inputs[index]
        for index, value in enumerate(said.values)
    ]


def _clip(said: Said, low: float | None, high: float | None) -> Results:
    ends = ["" if end is None else said.graph.number(end) for end in (low, high)]
    return said.add("Clip", said.inputs[0], *ends)


def _clamp(said: Said) -> Results:
    operation = cast(Clamp, said.operation)
    return _clip(said, operation.min, operation.max)


def _hardtanh(said: Said) -> Results:
    operation = cast(activations.Hardtanh, said.operation)
    return _clip(said, operation.min_val, operation.max_val)


def _scale(said: Said) -> Results:
    operation, x = cast(Scale, said.operation), said.inputs[0]
    if operation.scale != 1:
        x = said.graph.add("Mul", x, said.graph.number(operation.scale))
    return said.add("Add", x, said.graph.number(operation.shift)) if operation.shift else said.add("Identity", x)


def _softplus(said: Said) -> Results:
    operation, x = cast(activations.Softplus, said.operation), said.inputs[0]
    said.require(operation.threshold >= LEAST_SOFTPLUS_THRESHOLD, f"threshold {operation.threshold:g}")
    said.require(operation.beta > 0, f"beta {operation.beta:g}")
    if operation.beta == 1:
        return said.add("Softplus", x)
    beta = said.graph.number(operation.beta)
    return said.add("Div", said.graph.add("Softplus", said.graph.add("Mul", x, beta)), beta)


def _gelu(said: Said) -> Results:
    operation, graph, x = cast(activations.Gelu, said.operation), said.graph, said.inputs[0]
    said.require(operation.approximate == "none", f"approximate {operation.approximate}")
    share = graph.add("Erf", graph.add("Mul", x, graph.number(0.5**0.5)))
    return said.add("Mul", graph.add("Mul", x, graph.number(0.5)), graph.add("Add", share, graph.number(1.0)))


def _prelu(said: Said) -> Results:
    slope = said.weights["weight"].view(-1, *(1,) * (len(said.values[0].features) - 1))
    return said.add("PRelu", said.inputs[0], said.graph.tensor(slope))


def _shrink(said: Said) -> Results:
    operation = cast(activations.Shrink, said.operation)
    said.require(operation.lambd >= 0, f"lambd {operation.lambd:g}")
    bias = operation.lambd if operation.op == "softshrink" else 0.0
    return said.add("Shrink", said.inputs[0], lambd=operation.lambd, bias=bias)


def _celu(said: Said) -> Results:
    operation = cast(activations.Elu, said.operation)
    said.require(operation.alpha > 0, f"alpha {operation.alpha:g}")
    return said.add("Celu", said.inputs[0], alpha=operation.alpha)


def _layer_norm(said: Said) -> Results:
    operation = cast(norms.LayerNorm, said.operation)
    weight = said.weights.get("weight")
    tensors = [torch.ones(operation.normalized_shape) if weight is None else weight]
    tensors += [said.weights["bias"]] if "bias" in said.weights else []
    inputs = [said.graph.tensor(one) for one in tensors]
    axis = -len(operation.normalized_shape)
    return said.add("LayerNormalization", said.inputs[0], *inputs, axis=axis, epsilon=operation.eps)


def _rms_norm(said: Said) -> Results:
    operation, graph, x = cast(norms.RmsNorm, said.operation), said.graph, said.inputs[0]
    eps = torch.finfo(torch.float32).eps if operation.eps is None else operation.eps
    axes = graph.ints(*range(-len(operation.normalized_shape), 0))
    mean = graph.add("ReduceMean", graph.add("Mul", x, x), axes, keepdims=1)
    x = graph.add("Div", x, graph.add("Sqrt", graph.add("Add", mean, graph.number(eps))))
    return said.add("Mul", x, graph.tensor(said.weights["weight"])) if "weight" in said.weights else (x,)


def _batch_norm(said: Said) -> Results:
    scale, shift = cast(norms.BatchNorm, said.operation).scale_and_shift(said.values, said.weights)
    graph = said.graph
    return said.add("Add", graph.add("Mul", said.inputs[0], graph.tensor(scale)), graph.tensor(shift))


def _affine(said: Said) -> Results:
    x = said.inputs[0]
    for name, op in (("mean", "Sub"), ("weight", "Mul"), ("bias", "Add")):
        if name in said.weights:
            x = said.graph.add(op, x, said.graph.tensor(said.weights[name]))
    return (x,)


EMITTERS: dict[str, Emit] = {
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(_TWO, _two),
    "relu6": lambda said: _clip(said, 0.0, 6.0),
    "silu": lambda said: said.add("Mul", said.inputs[0], said.graph.add("Sigmoid", said.inputs[0])),
    "hardsigmoid": lambda said: said.add("HardSigmoid", said.inputs[0], alpha=1 / 6, beta=0.5),
    "log_sigmoid": lambda said: said.add("Neg", said.graph.add("Softplus", said.graph.add("Neg", said.inputs[0]))),
    "tanhshrink": lambda said: said.add("Sub", said.inputs[0], said.graph.add("Tanh", said.inputs[0])),
    "square": lambda said: said.add("Mul", said.inputs[0], said.inputs[0]),
    "leaky_relu": lambda said: said.add(
        "LeakyRelu", said.inputs[0], alpha=cast(activations.LeakyRelu, said.operation).negative_slope
    ),
    "elu": lambda said: said.add("Elu", said.inputs[0], alpha=cast(activations.Elu, said.operation).alpha),
    "celu": _celu,
    "gelu": _gelu,
    "softplus": _softplus,
    "hardtanh": _hardtanh,
    **dict.fromkeys(("hardshrink", "softshrink"), _shrink),
    "prelu": _prelu,
    "clamp": _clamp,
    "scale": _scale,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "batch_norm": _batch_norm,
    "affine": _affine,
}
"""By the vocabulary's names. Not here: what onnxruntime computes less exactly (`expm1`, `log1p`), or seldom stands in
a streaming graph."""
