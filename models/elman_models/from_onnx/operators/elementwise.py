"""Functions of each number, of two numbers at the same place, and those that change nothing."""

import operator
from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional

from elman_models.from_onnx.call import OnnxCall, as_tensor
from elman_models.from_onnx.operators.registry import OPERATORS, handles
from elman_models.from_onnx.sizes import Sizes

_PLAIN: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Relu": torch.relu,
    "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid,
    "Softplus": partial(functional.softplus, threshold=1e30),
    "Softsign": functional.softsign,
    "HardSwish": functional.hardswish,
    "Mish": functional.mish,
    "Exp": torch.exp,
    "Log": torch.log,
    "Sqrt": torch.sqrt,
    "Reciprocal": torch.reciprocal,
    "Neg": torch.neg,
    "Abs": torch.abs,
    "Sign": torch.sign,
    "Floor": torch.floor,
    "Ceil": torch.ceil,
    "Round": torch.round,
    "Erf": torch.erf,
    "Sin": torch.sin,
    "Cos": torch.cos,
    "Tan": torch.tan,
    "Atan": torch.atan,
    "Not": torch.logical_not,
}
_BINARY: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": torch.div,
    "Pow": torch.pow,
    "Equal": torch.eq,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "And": torch.logical_and,
    "Or": torch.logical_or,
}
_OF_SIZES: dict[str, Callable[..., object]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": operator.floordiv,  # of sizes, which are not negative
    "Equal": operator.eq,
    "Less": operator.lt,
    "Greater": operator.gt,
}


def _plain(call: OnnxCall, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    return function(call.tensor(0))


def _binary(call: OnnxCall) -> torch.Tensor | Sizes:
    left, right = call.operand(0), call.operand(1)
    if isinstance(left, Sizes) and isinstance(right, Sizes) and call.node.op in _OF_SIZES:
        return _of_sizes(call, left, right)
    if call.node.op == "Div" and not as_tensor(left).is_floating_point():
        raise call.refuse("a quotient of whole numbers")
    return _BINARY[call.node.op](as_tensor(left), as_tensor(right))


def _of_sizes(call: OnnxCall, left: Sizes, right: Sizes) -> Sizes:
    number = max(len(left.numbers), len(right.numbers))
    pairs = zip(*(s.numbers * (number if len(s.numbers) == 1 else 1) for s in (left, right)), strict=True)
    function = _OF_SIZES[call.node.op]
    is_truth = call.node.op in ("Equal", "Less", "Greater")
    numbers = [bool(function(a, b)) if is_truth else function(a, b) for a, b in pairs]
    return Sizes(tuple(numbers), left.is_scalar and right.is_scalar)  # type: ignore[arg-type]


def _register() -> None:
    for name, function in _PLAIN.items():
        OPERATORS[name] = partial(_plain, function=function)
    for name in _BINARY:
        OPERATORS[name] = _binary


_register()


@handles("LeakyRelu")
def leaky_relu(call: OnnxCall) -> torch.Tensor:
    """f(x) = alpha x below zero."""
    return functional.leaky_relu(call.tensor(0), call.number("alpha", 0.01))


@handles("Elu", "Celu")
def elu(call: OnnxCall) -> torch.Tensor:
    """As torch's."""
    function = functional.elu if call.node.op == "Elu" else functional.celu
    return function(call.tensor(0), call.number("alpha", 1.0))


@handles("Selu")
def selu(call: OnnxCall) -> torch.Tensor:
    """gamma (alpha e^x - alpha) below zero, gamma x above."""
    alpha, gamma = call.number("alpha", 1.6732631921768188), call.number("gamma", 1.0507010221481323)
    return functional.elu(call.tensor(0), alpha) * gamma


@handles("Gelu")
def gelu(call: OnnxCall) -> torch.Tensor:
    """As torch's."""
    return functional.gelu(call.tensor(0), approximate=call.text("approximate", "none"))


@handles("HardSigmoid")
def hard_sigmoid(call: OnnxCall) -> torch.Tensor:
    """max(0, min(1, alpha x + beta))."""
    alpha, beta = call.number("alpha", 0.2), call.number("beta", 0.5)
    return torch.clamp(call.tensor(0) * alpha + beta, 0.0, 1.0)


@handles("PRelu")
def prelu(call: OnnxCall) -> torch.Tensor:
    """f(x) = slope x below zero; the slope broadcasts."""
    given = call.tensor(0)
    return torch.relu(given) - call.tensor(1) * torch.relu(-given)


@handles("Clip")
def clip(call: OnnxCall) -> torch.Tensor:
    """Between two numbers, of which one may be missing."""
    low, high = call.limit("min", 1), call.limit("max", 2)
    given = call.tensor(0)
    if low is None and high is None:
        return given
    return torch.clamp(given, low, high)


@handles("Min", "Max")
def extreme(call: OnnxCall) -> torch.Tensor:
    """Of two or more."""
    function = torch.minimum if call.node.op == "Min" else torch.maximum
    result, *others = call.tensors()
    for other in others:
        result = function(result, other)
    return result


@handles("Sum")
def total(call: OnnxCall) -> torch.Tensor:
    """Of two or more."""
    result, *others = call.tensors()
    for other in others:
        result = result + other
    return result


@handles("Where")
def where(call: OnnxCall) -> torch.Tensor | Sizes:
    """One or the other."""
    of_sizes = [part for part in call.given if isinstance(part, Sizes)]
    if len(of_sizes) == len(call.given):
        number = max(len(part.numbers) for part in of_sizes)
        wide = [part.numbers * (number if len(part.numbers) == 1 else 1) for part in of_sizes]
        return of_sizes[0].same([a if c else b for c, a, b in zip(*wide, strict=True)])
    condition, yes, no = call.tensors()
    return torch.where(condition, yes, no)


@handles("Identity")
def same(call: OnnxCall) -> torch.Tensor | Sizes:
    """The same."""
    return call.operand(0)


@handles("Dropout")
def dropout(call: OnnxCall) -> torch.Tensor | Sizes:
    """The same, in evaluation."""
    training = call.constant(2)
    if call.has(2) and (training is None or bool(training.any())):
        raise call.refuse("dropout that is on in evaluation, too", "export the module in evaluation mode")
    return call.operand(0)


@handles("Cast", "CastLike")
def cast(call: OnnxCall) -> torch.Tensor | Sizes:
    """To another dtype: what is none of float32, int64 and bool is computed as one of them."""
    given = call.operand(0)
    if call.node.op == "CastLike":
        dtype = call.tensor(1).dtype
    else:
        dtypes = {1: torch.float32, 10: torch.float32, 11: torch.float32, 16: torch.float32, 9: torch.bool}
        dtypes |= dict.fromkeys((2, 3, 4, 5, 6, 7, 12, 13), torch.int64)
        to = call.integer("to")
        if to not in dtypes:
            raise call.refuse(f"to ONNX's type {to}, which is not known")
        dtype = dtypes[to]
    if isinstance(given, Sizes):
        return given if dtype is torch.int64 else given.tensor().to(dtype)
    return given.to(dtype)
