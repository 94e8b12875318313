"""einsum, where it is a linear layer: a value and a weight, summed over features."""

from math import prod
from typing import NamedTuple

import torch

from elman_models.export.broadcasting import reshaped, without_units
from elman_models.export.call import Call
from elman_models.export.handlers.products import of_last
from elman_models.export.handlers.registry import handles
from elman_models.export.handlers.reshapes import reordered
from elman_models.export.traced import Role, Traced, constant

INSTEAD = "say it by linear layers, matmul and products"


class Axes(NamedTuple):
    """A letter for each axis: of the value, of the weight, of the result."""

    value: str
    weight: str
    result: str

    @property
    def summed(self) -> str:
        """Those that both have and the result has not."""
        return "".join(one for one in self.weight if one in self.value and one not in self.result)

    @property
    def new(self) -> str:
        """Those that the weight brings."""
        return "".join(one for one in self.weight if one not in self.value)


@handles("einsum")
def einsum(call: Call) -> Traced:
    """`btf,fo->bto`, and whatever else is a linear layer over some features."""
    operands = call.tensors("tensors")
    if len(operands) != 2 or all(one.constant is None for one in operands):
        call.refuse("einsum other than of one value and one weight", INSTEAD)
    first = 1 if operands[0].constant is not None else 0
    value, weight = operands[first], operands[1 - first].constant
    assert weight is not None
    axes = _axes(call, len(value.roles), weight.dim(), first)
    return _linear(call, value, weight, axes)


def _axes(call: Call, value_rank: int, weight_rank: int, first: int) -> Axes:
    equation = str(call.get("equation")).replace(" ", "")
    given, arrow, result = equation.partition("->")
    operands = given.split(",")
    if not arrow or len(operands) != 2:
        call.refuse(f"einsum {equation!r} without its result", "say the result: `->`")
    value, weight = operands[first], operands[1 - first]
    missing = value_rank - len(value.replace("...", ""))
    spread = "".join(chr(0x3B1 + number) for number in range(missing))  # letters that no equation has
    axes = Axes(value.replace("...", spread), weight, result.replace("...", spread))
    kept = "".join(one for one in axes.value if one not in axes.summed)
    is_linear = bool(axes.summed) and sorted(axes.result) == sorted(kept + axes.new)
    is_told = len(axes.value) == value_rank and len(axes.weight) == weight_rank
    is_once = all(len(set(one)) == len(one) for one in axes)
    if not (is_linear and is_told and is_once) or set(axes.weight) != set(axes.summed + axes.new):
        call.refuse(f"einsum {equation!r}, which is no linear layer", INSTEAD)
    return axes


def _linear(call: Call, value: Traced, weight: torch.Tensor, axes: Axes) -> Traced:
    summed = [axes.value.index(one) for one in axes.summed]
    value = without_units(call, value, summed)
    if any(value.roles[axis] is not Role.FEATURE for axis in summed):
        call.refuse("einsum that sums over the batch or over time: rows or steps see each other")
    kept = [axis for axis in range(len(axes.value)) if axis not in summed]
    order = [axes.weight.index(one) for one in axes.new + axes.summed]
    sizes = [weight.shape[axis] for axis in order]
    made, taken = sizes[: len(axes.new)], prod(sizes[len(axes.new) :])
    flat = _last_joined(call, reordered(call, value, kept + summed), len(kept), taken)
    matrix = weight.permute(order).reshape(prod(made), taken).contiguous()
    product = of_last(call, flat, {"weight": constant(matrix)})
    result = reshaped(
        call, product, (*product.features[:-1], *made), (*product.roles[:-1], *[Role.FEATURE] * len(made))
    )
    letters = "".join(axes.value[axis] for axis in kept) + axes.new
    return reordered(call, result, [letters.index(one) for one in axes.result])


def _last_joined(call: Call, value: Traced, kept: int, size: int) -> Traced:
    features = value.features[: value.feature_index(kept)]
    return reshaped(call, value, (*features, size), (*value.roles[:kept], Role.FEATURE))
