"""The tensor codec: NumPy arrays to and from the contract's `Tensor`, for the SDK and the server alike.

On the hot path, hence plain functions and tables looked up once. Bytes are little-endian on the wire, whatever the
machine; bfloat16, which NumPy does not know, is widened to float32 on the way in and rounded on the way out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from elman.v1 import tensor_pb2

DataType = tensor_pb2.DataType
Array = npt.NDArray[Any]

UNSPECIFIED: Final = tensor_pb2.DATA_TYPE_UNSPECIFIED
F32: Final = tensor_pb2.DATA_TYPE_F32
I64: Final = tensor_pb2.DATA_TYPE_I64
BF16: Final = tensor_pb2.DATA_TYPE_BF16
F16: Final = tensor_pb2.DATA_TYPE_F16

_NUMPY: Final[dict[int, np.dtype[Any]]] = {
    F32: np.dtype("<f4"),
    I64: np.dtype("<i8"),
    F16: np.dtype("<f2"),
}
_ITEMSIZE: Final[dict[int, int]] = {F32: 4, I64: 8, BF16: 2, F16: 2}
_WIRE: Final[dict[np.dtype[Any], tensor_pb2.DataType.ValueType]] = {
    np.dtype("<f4"): F32,
    np.dtype("<i8"): I64,
    np.dtype("<f2"): F16,
}


class WireError(ValueError):
    """A tensor that does not say what it should: names the field, what was expected and what came."""


def itemsize(dtype: int) -> int:
    """Bytes of one element on the wire; WireError for an unknown dtype."""
    try:
        return _ITEMSIZE[dtype]
    except KeyError:
        raise WireError(f"dtype: expected one of {_known()}, got {dtype}") from None


def numpy_dtype(dtype: int) -> np.dtype[Any]:
    """The NumPy dtype that holds the wire's `dtype`: float32 for BF16; WireError for an unknown one."""
    if dtype == BF16:
        return _NUMPY[F32]
    try:
        return _NUMPY[dtype]
    except KeyError:
        raise WireError(f"dtype: expected one of {_known()}, got {dtype}") from None


def wire_dtype(dtype: npt.DTypeLike) -> tensor_pb2.DataType.ValueType:
    """The wire's dtype for a NumPy one: float32, int64 or float16; WireError for any other."""
    given = np.dtype(dtype)
    try:
        return _WIRE[given.newbyteorder("<")]
    except KeyError:
        raise WireError(f"dtype: expected float32, int64 or float16, got {given}") from None


def to_tensor(array: Array, dtype: tensor_pb2.DataType.ValueType | None = None) -> tensor_pb2.Tensor:
    """An array as a Tensor, bytes copied once.

    `dtype` is the wire's; None takes the array's own (float32, int64 or float16). With a dtype the array is cast
    to it, BF16 (from float32, rounded to nearest even) included. WireError for a dtype that does not travel.
    """
    tensor = tensor_pb2.Tensor()
    fill_tensor(tensor, array, dtype)
    return tensor


def fill_tensor(tensor: tensor_pb2.Tensor, array: Array, dtype: tensor_pb2.DataType.ValueType | None = None) -> None:
    """As `to_tensor`, into an empty Tensor that stands in another message: protobuf copies one that is handed over."""
    if dtype == BF16:
        array = narrow_bf16(array)
    else:
        if dtype is None:
            dtype = _WIRE.get(array.dtype) or wire_dtype(array.dtype)
        array = array.astype(numpy_dtype(dtype), copy=False)
    tensor.dtype = dtype
    tensor.shape.extend(array.shape)
    tensor.data = array.tobytes()


def from_tensor(tensor: tensor_pb2.Tensor, *, name: str = "tensor") -> Array:
    """A Tensor as a read-only array of its shape, without copying what protobuf gives out.

    float32, int64 or float16; BF16 is widened to float32. WireError, naming the field `name`, where the dtype is
    unknown, a dimension is negative or the bytes don't fill the shape.
    """
    shape = tuple(tensor.shape)
    data = tensor.data
    dtype = tensor.dtype
    size = _ITEMSIZE.get(dtype)
    if size is None:
        raise WireError(f"{name}.dtype: expected one of {_known()}, got {dtype}")
    if len(data) != math.prod(shape) * size or (shape and min(shape) < 0):
        raise WireError(_misfit(name, shape, size, len(data)))
    if dtype == BF16:
        return widen_bf16(np.frombuffer(data, "<u2")).reshape(shape)
    return np.frombuffer(data, _NUMPY[dtype]).reshape(shape)


def narrow_bf16(array: Array) -> npt.NDArray[np.uint16]:
    """Numbers as the bits of bfloat16, rounded to nearest even as torch does; NaN stays NaN."""
    values = np.ascontiguousarray(array, "<f4").ravel()
    bits = values.view("<u4")
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype("<u2").reshape(np.shape(array))


def widen_bf16(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """The bits of bfloat16 as float32, exactly; read-only."""
    values: npt.NDArray[np.float32] = (bits.astype("<u4") << np.uint32(16)).view("<f4")
    values.flags.writeable = False
    return values


def _known() -> str:
    return ", ".join(tensor_pb2.DataType.Name(dtype) for dtype in (F32, I64, BF16, F16))


def _misfit(name: str, shape: Sequence[int], size: int, given_bytes: int) -> str:
    if min(shape, default=0) < 0:
        return f"{name}.shape: expected dimensions of at least 0, got {list(shape)}"
    expected = math.prod(shape) * size
    return f"{name}.data: expected {expected} bytes for shape {list(shape)} of {size} bytes each, got {given_bytes}"
