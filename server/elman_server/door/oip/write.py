"""Writer: a part of an inference's answer becomes a message."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_server.door.oip.inference import Inference, Part
from elman_server.door.oip.signature import ANY
from elman_server.door.oip.status import message_of
from elman_server.door.oip.stubs.grpc_service_pb2 import ModelInferResponse, ModelStreamInferResponse
from elman_server.door.oip.targets import Target

Array = NDArray[Any]

_DATATYPES = {np.dtype(np.float32): "FP32", np.dtype(np.int64): "INT64"}

FINAL = "triton_final_response"
_ID, _RAW = ModelInferResponse.ID_FIELD_NUMBER, ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER
_RESPONSE = ModelStreamInferResponse.INFER_RESPONSE_FIELD_NUMBER


def write_response(inference: Inference, part: Part) -> ModelInferResponse:
    """One answer that is no error."""
    response = ModelInferResponse()
    _fill(response, inference, part)
    return response


def write_stream_response(inference: Inference, part: Part) -> ModelStreamInferResponse:
    """One answer on a stream."""
    if part.error is not None:
        return write_stream_error(inference.id, message_of(part.error))
    message = ModelStreamInferResponse()
    response = message.infer_response
    _fill(response, inference, part)
    response.parameters[FINAL].bool_param = part.final
    return message


def write_head(target: Target) -> bytes:
    """What the answers to all single steps of a model with one output have in common."""
    (name,), spec = target.signature.given, target.runtime.spec
    output = target.signature.outputs[name]
    response = ModelInferResponse(model_name=spec.name, model_version=spec.version)
    response.outputs.add(name=name, datatype=output.datatype, shape=[1 if n == ANY else n for n in output.shape])
    response.parameters[FINAL].bool_param = True
    return response.SerializeToString()


def write_step(head: bytes, request_id: str, raw: bytes) -> bytes:
    """A `ModelStreamInferResponse` of a head, an id and an output."""
    name = request_id.encode()
    parts = (head, _begin(_ID, len(name)), name, _begin(_RAW, len(raw)), raw)
    return b"".join((_begin(_RESPONSE, sum(map(len, parts))), *parts))


@lru_cache(1024)
def _begin(number: int, size: int) -> bytes:
    """What stands before so many bytes of a message's field: its tag and its size, as varints."""
    written = bytearray((number << 3 | 2,))
    while size > 0x7F:
        written.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((*written, size))


def write_stream_error(request_id: str, message: str) -> ModelStreamInferResponse:
    """Why a request failed."""
    response = ModelInferResponse(id=request_id)
    response.parameters[FINAL].bool_param = True
    return ModelStreamInferResponse(error_message=message or "failed", infer_response=response)


def _fill(response: ModelInferResponse, inference: Inference, part: Part) -> None:
    spec = inference.target.runtime.spec
    response.model_name = spec.name
    response.model_version = spec.version
    response.id = inference.id
    outputs, raws = response.outputs, response.raw_output_contents
    given = dict(_tensors(inference, part))
    for name in inference.names:
        array = given.get(name)
        if array is not None:
            outputs.add(name=name, datatype=_DATATYPES[array.dtype], shape=array.shape)
            raws.append(array.tobytes())
    if inference.frame.positions is not None and part.final:
        response.parameters["position"].int64_param = part.position


def _tensors(inference: Inference, part: Part) -> Iterator[tuple[str, Array]]:
    signature, view, rows = inference.target.signature, inference.frame.view, inference.frame.num_rows
    for name, array in part.outputs:
        has_steps = len(signature.outputs[name].shape) == array.ndim + 1
        yield name, array.reshape(len(array) // rows, rows, *array.shape[1:]) if has_steps else array
    ends = [name for name in signature.outputs if name not in signature.given]
    for name, field, array in zip(ends, view.states, part.states, strict=False):
        yield name, array if field.layers else array[0]
