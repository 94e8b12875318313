"""Tensors of a request as arrays: every check that needs no session."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman import wire
from elman_server.door.oip.parameters import refuse_shared_memory
from elman_server.door.oip.signature import Signature, TensorSpec
from elman_server.door.oip.stubs.grpc_service_pb2 import ModelInferRequest
from elman_server.errors import InvalidInput
from elman_server.exchange.initial import Initial, check_tensor
from elman_server.exchange.model_view import ModelView, StepRecord, TensorField

Array = NDArray[Any]

_DTYPES: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
_ACCEPTED = {"FP32": ("FP32", "FP16", "BF16"), "INT64": ("INT64",)}


def read_tensors(request: ModelInferRequest, signature: Signature) -> dict[str, Array]:
    """The tensors by name, all inputs of a step among them, in the dtypes and shapes of the signature.

    Raises:
        InvalidInput: one is missing, unknown or given twice, or its dtype, shape or size is wrong.
        Unsupported: one lies in shared memory.
    """
    model, raws, inputs = request.model_name, request.raw_input_contents, request.inputs
    if raws and len(raws) != len(inputs):
        raise InvalidInput(
            f"expected {len(inputs)} raw_input_contents, one for each input, got {len(raws)}, for model '{model}'"
        )
    arrays: dict[str, Array] = {}
    for index, tensor in enumerate(inputs):
        name = tensor.name
        spec = signature.inputs.get(name)
        if spec is None or name in arrays:
            raise InvalidInput(f"unexpected inference input '{name}' for model '{model}'{' (twice)' * bool(spec)}")
        if tensor.parameters:
            refuse_shared_memory(tensor.parameters)
        shape = _shape(tensor, spec, model)
        arrays[name] = _from_raw(tensor, raws[index], shape, model) if raws else _from_contents(tensor, shape, model)
    missing = [name for name in signature.steps if name not in arrays]
    if missing:
        wanted = " and ".join(f"'{name}'" for name in missing)
        raise InvalidInput(
            f"expected the input{'s' * (len(missing) > 1)} {wanted}, got {sorted(arrays) or 'no inputs'}, "
            f"for model '{model}'"
        )
    return arrays


class Input(NamedTuple):
    """The steps of a request."""

    data: Array
    """[steps * rows, *features] the input record."""
    steps: int
    rows: int


def read_steps(arrays: Mapping[str, Array], signature: Signature, record: StepRecord) -> Input:
    """The steps that the tensors have.

    Raises:
        InvalidInput: the inputs are not equally many steps and rows.
    """
    first = signature.steps[0]
    steps, rows = arrays[first].shape[:2]
    for name in signature.steps[1:]:
        if arrays[name].shape[:2] != (steps, rows):
            raise InvalidInput(
                f"inputs: expected equally many steps and rows, got {list(arrays[first].shape[:2])} of '{first}' and "
                f"{list(arrays[name].shape[:2])} of '{name}'"
            )
    flat = [arrays[name].reshape(steps * rows, *arrays[name].shape[2:]) for name in signature.steps]
    return Input(record.joined(flat), steps, rows)


def read_initial(arrays: Mapping[str, Array], signature: Signature, view: ModelView, rows: int) -> Initial:
    """What the rows begin with: their context, and their states if they are there. Whether the context is whole is
    looked at where rows begin.

    Raises:
        InvalidInput: a state is missing beside others, is for another number of rows, or has a value that must not be
            run.
    """
    context = {name: arrays[name].copy() for name in signature.context if name in arrays}
    given = [name for name in signature.initial if name in arrays]
    if not given:
        return Initial(context=context)
    if len(given) != len(signature.initial):
        raise InvalidInput(f"expected {' and '.join(signature.initial)} together or none, got {', '.join(given)}")
    return Initial(tuple(_state(arrays[n], n, f, rows) for n, f in zip(given, view.states, strict=True)), context)


def _state(array: Array, name: str, field: TensorField, rows: int) -> Array:
    # [layers or 1, B, *features]
    got = array.shape[1 if field.layers else 0]
    if got != rows:
        raise InvalidInput(f"'{name}': expected {rows} rows, as the input has, got {got}")
    if field.num_embeddings:
        check_tensor(field, array, "state", rows)
    elif not np.isfinite(array).all():
        raise InvalidInput(f"'{name}': a value is NaN or infinite")
    return array.reshape(field.seam_shape(rows)).copy()


def _shape(tensor: ModelInferRequest.InferInputTensor, spec: TensorSpec, model: str) -> tuple[int, ...]:
    if tensor.datatype not in _ACCEPTED[spec.datatype]:
        raise InvalidInput(
            f"inference input '{spec.name}' data-type is '{tensor.datatype}', but model '{model}' expects "
            f"'{spec.datatype}'"
        )
    shape = tuple(tensor.shape[:])
    if spec.fits(shape):
        return shape
    raise InvalidInput(
        f"unexpected shape for input '{spec.name}' for model '{model}'. "
        f"Expected {_text(spec.shape)}, got {_text(shape)}"
    )


def _from_raw(tensor: ModelInferRequest.InferInputTensor, raw: bytes, shape: tuple[int, ...], model: str) -> Array:
    if tensor.HasField("contents"):
        raise InvalidInput(
            f"contents field must not be specified when using raw_input_contents for '{tensor.name}' "
            f"for model '{model}'"
        )
    datatype = tensor.datatype
    dtype = _DTYPES[datatype]
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise InvalidInput(
            f"unexpected total byte size {len(raw)} for input '{tensor.name}' for model '{model}', expecting "
            f"{math.prod(shape) * dtype.itemsize}"
        )
    array = np.frombuffer(raw, dtype)
    if datatype == "BF16":
        array = wire.widen_bf16(array)
    elif datatype == "FP16":
        array = array.astype(np.float32)
    return array.reshape(shape)


def _from_contents(tensor: ModelInferRequest.InferInputTensor, shape: tuple[int, ...], model: str) -> Array:
    if tensor.datatype not in ("FP32", "INT64"):
        raise InvalidInput(
            f"'{tensor.name}': {tensor.datatype} travels in raw_input_contents only, for model '{model}'"
        )
    contents = tensor.contents
    typed = contents.fp32_contents if tensor.datatype == "FP32" else contents.int64_contents
    if len(typed) != math.prod(shape):
        raise InvalidInput(
            f"unexpected number of elements {len(typed)} for input '{tensor.name}' for model '{model}', expecting "
            f"{math.prod(shape)}"
        )
    return np.fromiter(typed, _DTYPES[tensor.datatype], len(typed)).reshape(shape)


def _text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
