"""Functions of each number, and of two numbers that stand at the same place."""

import math
from dataclasses import replace
from functools import partial

import torch

from elman_models.export.broadcasting import aligned
from elman_models.export.call import Call
from elman_models.export.handlers.identities import as_dtype, as_floats, promoted
from elman_models.export.handlers.registry import HANDLERS, handles
from elman_models.export.traced import Traced
from elman_models.graph.operations.activations import NUMERIC, PLAIN
from elman_models.graph.spec import Parameter
from elman_models.graph.value import DType

_ALIASES = {"arctan": "atan", "sgn": "sign"}
_WITH_NUMBERS = {
    "leaky_relu": ("leaky_relu", ("negative_slope",)),
    "celu": ("celu", ("alpha",)),
    "softplus": ("softplus", ("beta", "threshold")),
    "hardtanh": ("hardtanh", ("min_val", "max_val")),
    "hardshrink": ("hardshrink", ("lambd",)),
    "softshrink": ("softshrink", ("lambd",)),
    "threshold": ("threshold", ("threshold", "value")),
}
"""The graph's operation and its parameters, which are called as torch's."""


def unary(call: Call, op: str, parameters: dict[str, Parameter] | None = None) -> Traced:
    """A function of each number; steps that are still to be taken away may be there."""
    given = call.raw(next(iter(call.arguments)))
    surplus = given.surplus
    given = call.settled(replace(given, surplus=0))
    if op not in NUMERIC:
        given = as_floats(call, given)
    return replace(call.emit(op, [given], given.roles, parameters), surplus=surplus)


def _with_numbers(call: Call, op: str, fields: tuple[str, ...]) -> Traced:
    return unary(call, op, {field: call.number(field) for field in fields})


def _register() -> None:
    names = {name: name for name in (*PLAIN, *NUMERIC)} | _ALIASES
    for torch_name, op in names.items():
        HANDLERS[torch_name] = partial(unary, op=op)
    for torch_name, (op, fields) in _WITH_NUMBERS.items():
        HANDLERS[torch_name] = partial(_with_numbers, op=op, fields=fields)


_register()


@handles("elu")
def elu(call: Call) -> Traced:
    """`elu`, with the scales of torch's that nobody uses refused."""
    if call.number("scale") != 1 or call.number("input_scale") != 1:
        call.refuse("elu with a scale of its own")
    return unary(call, "elu", {"alpha": call.number("alpha")})


@handles("gelu")
def gelu(call: Call) -> Traced:
    """`gelu`."""
    return unary(call, "gelu", {"approximate": str(call.get("approximate"))})


@handles("prelu")
def prelu(call: Call) -> Traced:
    """`prelu`, whose channels are the second axis."""
    given, weight = call.tensor("self"), call.weight("weight")
    if weight.features[0] > 1 and given.feature_index(1):
        call.refuse("prelu whose channels are not the first features")
    return call.emit(
        "prelu", [given], given.roles, {"num_parameters": weight.features[0]}, {"weight": weight}, call.label
    )


def binary(call: Call, op: str, left: Traced, right: Traced) -> Traced:
    """A function of two tensors, either of which may be one number."""
    left, right = promoted(call, [left, right])
    if op in ("div", "pow"):
        left, right = as_floats(call, left), as_floats(call, right)
    number = _number(right)
    if number is not None and left.constant is None:
        return call.emit(
            op, [left], left.roles if len(left.roles) >= len(right.roles) else right.roles, {"value": number}
        )
    (left, right), roles = aligned(call, [left, right])
    return call.emit(op, [left, right], roles)


def _number(given: Traced) -> float | int | None:
    if given.constant is None or given.constant.dim() or given.dtype is DType.BOOL:
        return None
    number = given.constant.item()
    return number if math.isfinite(number) else None


def _scaled(call: Call, name: str) -> Traced:
    given = call.tensor(name)
    alpha = call.number("alpha") if "alpha" in call.arguments else 1.0
    if alpha == 1:
        return given
    return binary(call, "mul", as_floats(call, given), call.raw_number(alpha))


@handles("add", "sub", "subtract")
def add(call: Call) -> Traced:
    """self + alpha * other."""
    return binary(call, "add" if call.name == "add" else "sub", call.tensor("self"), _scaled(call, "other"))


@handles("rsub")
def rsub(call: Call) -> Traced:
    """other - alpha * self."""
    given, other = _scaled(call, "self"), call.tensor("other")
    number = _number(other)
    if number is not None and given.constant is None and given.dtype is DType.FLOAT32:
        return call.emit("scale", [given], given.roles, {"scale": -1.0, "shift": float(number)})
    return binary(call, "sub", other, given)


@handles("lerp")
def lerp(call: Call) -> Traced:
    """self + weight * (end - self)."""
    begin = call.tensor("self")
    way = binary(call, "sub", call.tensor("end"), begin)
    return binary(call, "add", begin, binary(call, "mul", way, call.tensor("weight")))


@handles("addcmul", "addcdiv")
def addcmul(call: Call) -> Traced:
    """self + value * tensor1 * tensor2, or tensor1 / tensor2."""
    op, first = "mul" if call.name == "addcmul" else "div", call.tensor("tensor1")
    product = binary(call, op, first, call.tensor("tensor2"))
    if call.number("value") != 1:
        product = binary(call, "mul", product, call.raw_number(call.number("value")))
    return binary(call, "add", call.tensor("self"), product)


@handles("mul", "multiply", "maximum", "minimum", "remainder", "eq", "ne", "lt", "le", "gt", "ge")
def arithmetic(call: Call) -> Traced:
    """Two tensors, or one and a number."""
    left, right = call.tensor("self"), call.tensor("other")
    op = {"multiply": "mul"}.get(call.name, call.name)
    if op == "mul" and DType.BOOL in (left.dtype, right.dtype) and left.dtype is right.dtype:
        left, right = as_dtype(call, left, DType.INT64), as_dtype(call, right, DType.INT64)
    return binary(call, op, left, right)


@handles("atanh", "arctanh")
def atanh(call: Call) -> Traced:
    """log((1 + x) / (1 - x)) / 2."""
    given = as_floats(call, call.tensor("self"))
    one = call.raw_number(1.0)
    ratio = binary(call, "div", binary(call, "add", given, one), binary(call, "sub", one, given))
    return binary(call, "mul", call.emit("log", [ratio], ratio.roles), call.raw_number(0.5))


@handles("binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(call: Call) -> Traced:
    """Of each number, as the entropy of torch.distributions.Bernoulli is: softplus(x) - x target."""
    given, target = call.tensor("self"), as_floats(call, call.tensor("target"))
    if call.integer("reduction") or call.has("weight") or call.has("pos_weight"):
        call.refuse("a loss, which brings rows together or weighs them", "compute it in training alone")
    whole = call.emit("softplus", [given], given.roles, {"beta": 1.0, "threshold": 20.0})
    return binary(call, "sub", whole, binary(call, "mul", given, target))


@handles("div", "divide", "true_divide")
def div(call: Call) -> Traced:
    """A quotient; `rounding_mode="floor"` rounds it."""
    result = binary(call, "div", call.tensor("self"), call.tensor("other"))
    if call.arguments.get("rounding_mode") is None:
        return result
    if call.get("rounding_mode") != "floor" or call.node.meta["val"].dtype is not torch.float32:
        call.refuse("div with a rounding_mode")
    return call.emit("floor", [result], result.roles)


@handles("pow")
def pow_(call: Call) -> Traced:
    """A power; of a number e^(x log number)."""
    base, exponent = call.tensor("self"), call.tensor("exponent")
    number = _number(base)
    if number is not None and exponent.constant is None:
        scaled = binary(call, "mul", as_floats(call, exponent), call.raw_number(math.log(number)))
        return call.emit("exp", [scaled], scaled.roles)
    power = _number(exponent)
    if power == 2 and base.constant is None:
        return call.emit("square", [base], base.roles)
    return binary(call, "pow", base, exponent)


@handles("logical_and", "logical_or", "bitwise_and", "bitwise_or", "__and__", "__or__")
def logic(call: Call) -> Traced:
    """Of truths."""
    left, right = (as_dtype(call, call.tensor(name), DType.BOOL) for name in ("self", "other"))
    (left, right), roles = aligned(call, [left, right])
    return call.emit("logical_and" if "and" in call.name else "logical_or", [left, right], roles)


@handles("logical_not", "bitwise_not")
def logical_not(call: Call) -> Traced:
    """Of a truth."""
    given = as_dtype(call, call.tensor("self"), DType.BOOL)
    return call.emit("logical_not", [given], given.roles)


@handles("where")
def where(call: Call) -> Traced:
    """One or the other."""
    return chosen(call, call.tensor("condition"), call.tensor("self"), call.tensor("other"))


@handles("masked_fill")
def masked_fill(call: Call) -> Traced:
    """A number where the mask is; minus infinity is the least number there is."""
    given = call.tensor("self")
    filling = call.tensor("value")
    if filling.constant is not None:
        limits = torch.finfo(torch.float32)
        filling = replace(filling, constant=filling.constant.float().clamp(limits.min, limits.max), tensor_name="")
        filling = replace(filling, value=filling.value.of(DType.FLOAT32))
    return chosen(call, call.tensor("mask"), filling, given)


@handles("index_put")
def index_put(call: Call) -> Traced:
    """`x[mask] = 0.0`: a number where the mask is."""
    given, indices, number = call.tensor("self"), call.get("indices"), call.tensor("values")
    mask = indices[0] if isinstance(indices, list) and len(indices) == 1 else None
    is_mask = isinstance(mask, Traced) and mask.dtype is DType.BOOL and mask.roles == given.roles
    if not isinstance(mask, Traced) or not is_mask or _number(number) is None or call.arguments.get("accumulate"):
        call.refuse(
            "x[...] = other than one finite number where a mask of x's own shape is",
            "torch.where(mask, other, x), or torch.cat",
        )
    return chosen(call, mask, number, given)


def chosen(call: Call, condition: Traced, yes: Traced, no: Traced) -> Traced:
    """`where`, its operands broadcast."""
    condition = as_dtype(call, condition, DType.BOOL)
    yes, no = promoted(call, [yes, no])
    operands, roles = aligned(call, [condition, yes, no])
    return call.emit("where", operands, roles)


@handles("clamp", "clip", "clamp_min", "clamp_max")
def clamp(call: Call) -> Traced:
    """Between two numbers, of which one may be missing."""
    given = call.tensor("self")
    limits = {name: call.number(name) for name in ("min", "max") if call.has(name)}
    if given.dtype is DType.INT64:
        if not all(limit.is_integer() for limit in limits.values()):
            call.refuse("clamp of ids between fractions")
        return call.emit("clamp", [given], given.roles, {name: int(limit) for name, limit in limits.items()})
    return call.emit("clamp", [given], given.roles, dict(limits))
