"""The tensor codec."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from elman import wire
from elman.v1 import tensor_pb2

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
ARRAYS = st.one_of(*(hnp.arrays(dtype, SHAPES) for dtype in (np.float32, np.int64, np.float16)))


@given(ARRAYS)
def test_an_array_comes_back_as_it_went(array):
    back = wire.from_tensor(wire.to_tensor(array))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=3)))
def test_strides_and_byte_order_do_not_travel(array):
    for view in (array.T, array[::-1], array.astype(">f4")):
        assert np.array_equal(wire.from_tensor(wire.to_tensor(view)), view, equal_nan=True)


@given(hnp.arrays(np.float32, SHAPES, elements=st.floats(width=32, allow_nan=False)))
def test_bfloat16_rounds_as_torch_does(array):
    torch = pytest.importorskip("torch")
    back = wire.from_tensor(wire.to_tensor(array, wire.BF16))
    expected = torch.from_numpy(array.copy()).bfloat16().float().numpy()
    assert back.dtype == np.float32
    assert np.array_equal(back, expected)


def test_bfloat16_keeps_nan():
    back = wire.from_tensor(wire.to_tensor(np.array([np.nan, -np.nan], np.float32), wire.BF16))
    assert np.isnan(back).all()


def test_a_decoded_tensor_is_read_only():
    assert not wire.from_tensor(wire.to_tensor(np.zeros(3, np.float32))).flags.writeable
    assert not wire.from_tensor(wire.to_tensor(np.zeros(3, np.float32), wire.BF16)).flags.writeable


@given(hnp.arrays(np.float32, hnp.array_shapes(min_side=1)), st.integers(-7, 7).filter(bool))
def test_bytes_that_do_not_fill_the_shape_are_refused(array, surplus):
    tensor = wire.to_tensor(array)
    tensor.data = (tensor.data + b"1234567")[: len(tensor.data) + surplus]
    with pytest.raises(wire.WireError, match=rf"h_n\.data: expected {array.nbytes} bytes .* got {len(tensor.data)}"):
        wire.from_tensor(tensor, name="h_n")


@pytest.mark.parametrize("shape", [[-1], [-2, -2], [0, -1], [2, -1]])
def test_negative_dimensions_are_refused(shape):
    tensor = tensor_pb2.Tensor(dtype=wire.F32, shape=shape, data=b"\0" * 16)
    with pytest.raises(wire.WireError, match=r"input\.shape: expected dimensions of at least 0"):
        wire.from_tensor(tensor, name="input")


@pytest.mark.parametrize("dtype", [0, 5, 99])
def test_an_unknown_dtype_is_refused(dtype):
    with pytest.raises(wire.WireError, match=rf"input\.dtype: expected one of DATA_TYPE_F32.* got {dtype}"):
        wire.from_tensor(tensor_pb2.Tensor(dtype=dtype, shape=[1], data=b"\0" * 4), name="input")
    with pytest.raises(wire.WireError):
        wire.itemsize(dtype)
    with pytest.raises(wire.WireError):
        wire.numpy_dtype(dtype)


@pytest.mark.parametrize("dtype", ["float64", "int32", "bool", "complex64"])
def test_other_numpy_dtypes_do_not_travel_unless_told_as_what(dtype):
    with pytest.raises(wire.WireError, match=f"expected float32, int64 or float16, got {dtype}"):
        wire.to_tensor(np.zeros(2, dtype))


def test_an_array_is_cast_to_the_dtype_asked_for():
    assert wire.to_tensor(np.arange(3), wire.F32) == wire.to_tensor(np.arange(3, dtype=np.float32))


def test_item_sizes_are_those_of_the_contract():
    assert [wire.itemsize(dtype) for dtype in (wire.F32, wire.I64, wire.BF16, wire.F16)] == [4, 8, 2, 2]
