"""Writer: a part of an inference's answer becomes a message."""

from typing import Any

from numpy.typing import NDArray

from elman_server.door.oip.inference import Inference, Part
from elman_server.door.oip.status import message_of
from elman_server.door.oip.stubs.grpc_service_pb2 import ModelInferResponse, ModelStreamInferResponse

Array = NDArray[Any]

FINAL = "triton_final_response"


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
    for name in inference.names:
        array = _array(name, inference, part)
        if array is not None:
            outputs.add(name=name, datatype="FP32", shape=array.shape)
            raws.append(array.tobytes())
    if inference.frame.positions is not None and part.final:
        response.parameters["position"].int64_param = part.position


def _array(name: str, inference: Inference, part: Part) -> Array | None:
    if name == "output":
        output, rows = part.output, inference.frame.num_rows
        return None if output is None else output.reshape(len(output) // rows, rows, -1)
    return part.h_n if name == "h_n" else part.c_n
