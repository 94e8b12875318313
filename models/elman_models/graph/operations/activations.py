"""Functions of each number alone."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from torch.nn import functional

from elman_models.graph.operations.operation import Dimension, Number, Operation, Run, Weight, expect, expect_floats
from elman_models.graph.value import DType, Value

PLAIN: dict[str, Run] = {
    "relu": torch.relu,
    "relu6": functional.relu6,
    "selu": torch.selu,
    "silu": functional.silu,
    "mish": functional.mish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hardsigmoid": functional.hardsigmoid,
    "hardswish": functional.hardswish,
    "softsign": functional.softsign,
    "log_sigmoid": functional.logsigmoid,
    "tanhshrink": functional.tanhshrink,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "log2": torch.log2,
    "log10": torch.log10,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "reciprocal": torch.reciprocal,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "atan": torch.atan,
    "erf": torch.erf,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
}
"""Those without parameters, on float32."""
NUMERIC: dict[str, Run] = {"neg": torch.neg, "abs": torch.abs, "square": torch.square, "sign": torch.sign}
"""Those on float32 and int64."""


class Plain(Operation):
    """One of PLAIN."""

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """As the input."""
        expect_floats(inputs[0])
        return (inputs[0],)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        return PLAIN[self.op]


class Numeric(Operation):
    """One of NUMERIC."""

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """As the input."""
        if inputs[0].dtype is DType.BOOL:
            raise ValueError("input's dtype: expected float32 or int64, got bool")
        return (inputs[0].of(inputs[0].dtype),)

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        return NUMERIC[self.op]


class _Function(Plain):
    """A function with parameters."""

    def function(self) -> Run:
        """It."""
        raise NotImplementedError

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        return self.function()


class LeakyRelu(_Function):
    """`leaky_relu`."""

    negative_slope: Number = 0.01

    def function(self) -> Run:
        """As torch's."""
        return partial(functional.leaky_relu, negative_slope=self.negative_slope)


class Elu(_Function):
    """`elu`, `celu`."""

    alpha: Number = 1.0

    def function(self) -> Run:
        """As torch's."""
        return partial(functional.elu if self.op == "elu" else functional.celu, alpha=self.alpha)


class Gelu(_Function):
    """`gelu`."""

    approximate: Literal["none", "tanh"] = "none"

    def function(self) -> Run:
        """As torch's."""
        return partial(functional.gelu, approximate=self.approximate)


class Softplus(_Function):
    """`softplus`."""

    beta: Number = 1.0
    threshold: Number = 20.0

    def function(self) -> Run:
        """As torch's."""
        return partial(functional.softplus, beta=self.beta, threshold=self.threshold)


class Hardtanh(_Function):
    """`hardtanh`."""

    min_val: Number = -1.0
    max_val: Number = 1.0

    def function(self) -> Run:
        """As torch's."""
        return partial(functional.hardtanh, min_val=self.min_val, max_val=self.max_val)


class Shrink(_Function):
    """`hardshrink`, `softshrink`."""

    lambd: Number = 0.5

    def function(self) -> Run:
        """As torch's."""
        return partial(functional.hardshrink if self.op == "hardshrink" else functional.softshrink, lambd=self.lambd)


class Threshold(_Function):
    """`threshold`."""

    threshold: Number
    value: Number

    def function(self) -> Run:
        """As torch's."""
        return partial(functional.threshold, threshold=self.threshold, value=self.value)


class Prelu(Operation):
    """`prelu`: weight [1], or one for each channel, which is the first axis of the features."""

    num_parameters: Dimension = 1

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """As the input."""
        expect_floats(inputs[0])
        if self.num_parameters != 1:
            expect("num_parameters", inputs[0].features[:1], (self.num_parameters,))
        return (inputs[0],)

    def weights(self, inputs: Sequence[Value]) -> dict[str, Weight]:
        """The slope below zero."""
        return {"weight": Weight((self.num_parameters,))}

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        slope = weights["weight"].view(-1, *(1,) * (len(inputs[0].features) - 1))
        return lambda x: torch.where(x > 0, x, slope * x)
