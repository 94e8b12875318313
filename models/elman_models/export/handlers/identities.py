"""Operations that change nothing: copies, dropout in evaluation, casts to the same."""

from dataclasses import replace

import torch

from elman_models.export.call import Call
from elman_models.export.handlers.registry import handles
from elman_models.export.traced import Traced, dtype_of
from elman_models.graph.value import DType


@handles(
    "contiguous",
    "clone",
    "detach",
    "alias",
    "lift_fresh_copy",
    "lift_fresh",
    "positive",
    "view_as_real_copy",
    "requires_grad",
)
def same(call: Call) -> Traced:
    """The same."""
    return call.raw(next(iter(call.arguments)))


@handles("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "native_dropout")
def dropout(call: Call) -> Traced:
    """The same, in evaluation."""
    if call.flag("train"):
        call.refuse(
            "dropout that is on in evaluation, too", "pass training=self.training to torch.nn.functional.dropout"
        )
    return call.raw("input")


@handles("_assert_tensor_metadata", "_assert_async", "_assert_scalar", "sym_constrain_range_for_size")
def nothing(call: Call) -> None:
    """No result."""


@handles("to", "_to_copy", "type_as")
def cast(call: Call) -> Traced:
    """To another dtype: what is none of float32 and int64 is computed as one of them."""
    dtype = call.node.meta["val"].dtype
    given = call.raw("self")
    if dtype is given.dtype.torch or dtype_of(dtype) is given.dtype:
        return given
    return as_dtype(call, call.settled(given), dtype_of(dtype))


def as_dtype(call: Call, given: Traced, dtype: DType) -> Traced:
    """`given`, of that dtype."""
    if given.dtype is dtype:
        return given
    if given.constant is not None:
        tensor = given.constant.to(dtype.torch)
        return replace(given, value=given.value.of(dtype), constant=tensor, tensor_name="")
    return call.emit("cast", [given], given.roles, {"dtype": str(dtype)})


def promoted(call: Call, given: list[Traced]) -> list[Traced]:
    """All of one dtype, as torch promotes them."""
    dtypes = {value.dtype for value in given}
    if len(dtypes) == 1:
        return given
    dtype = DType.FLOAT32 if DType.FLOAT32 in dtypes else DType.INT64
    return [as_dtype(call, value, dtype) for value in given]


def as_floats(call: Call, given: Traced) -> Traced:
    """`given` as float32."""
    return as_dtype(call, given, dtype_of(torch.float32))
