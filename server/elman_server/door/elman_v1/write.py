"""Domain answers into messages."""

from typing import Any

import numpy as np
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from elman import wire
from elman.v1 import inference_pb2, models_pb2, sessions_pb2, tensor_pb2
from elman_models.spec import Cell, ModelSpec
from elman_server.door.elman_v1.status import to_status
from elman_server.engine.session_calls import SessionView
from elman_server.exchange.answers import Answer
from elman_server.models.runtime import Runtime

Array = NDArray[Any]

_CELLS = {
    Cell.RNN_TANH: models_pb2.CELL_RNN_TANH,
    Cell.RNN_RELU: models_pb2.CELL_RNN_RELU,
    Cell.LSTM: models_pb2.CELL_LSTM,
    Cell.GRU: models_pb2.CELL_GRU,
}


def write_answer(frame_id: int, answer: Answer) -> inference_pb2.StepResponse:
    """One frame's part of an engine step."""
    if answer.frame_error is not None:
        return inference_pb2.StepResponse(frame_id=frame_id, frame_error=to_status(answer.frame_error))
    response = inference_pb2.StepResponse(
        frame_id=frame_id,
        lengths=answer.lengths.tolist(),
        finished=answer.finished.tolist(),
        positions=answer.positions.tolist(),
    )
    write_tensors(response, output=answer.output, h_n=answer.h_n, c_n=answer.c_n)
    if answer.rows is not None:
        response.rows.extend(answer.rows.tolist())
    if answer.starts is not None:
        response.starts.extend(answer.starts.tolist())
    for row, error in answer.errors:
        response.errors.add(row=row, status=to_status(error))
    return response


def write_tensors(message: Message, **arrays: Array | None) -> None:
    """Fills the message's fields of those names with arrays, float32 or int64; None leaves a field absent."""
    for name, array in arrays.items():
        if array is not None:
            wire.fill_tensor(getattr(message, name), array)


def write_session(view: SessionView) -> sessions_pb2.SessionInfo:
    """A session as its owner may see it."""
    return sessions_pb2.SessionInfo(
        model=view.model,
        version=view.version,
        session_id=view.session_id,
        position=view.position,
        admitted=view.admitted,
        create_time=_timestamp(view.created),
        use_time=_timestamp(view.used),
        expire_time=None if view.expires is None else _timestamp(view.expires),
    )


def write_model(runtime: Runtime) -> models_pb2.ModelInfo:
    """What a loaded model is."""
    spec, stack = runtime.spec, runtime.stack
    info = models_pb2.ModelInfo(
        name=spec.name,
        version=spec.version,
        description=spec.description,
        cell=_CELLS[spec.cell],
        input_size=spec.input_size,
        hidden_size=spec.hidden_size,
        num_layers=spec.num_layers,
        bias=spec.bias,
        bidirectional=spec.bidirectional,
        proj_size=spec.proj_size,
        input_dtype=wire.wire_dtype(runtime.input.dtype),
        input_features=spec.input_features,
        output_dtype=tensor_pb2.DATA_TYPE_F32,
        output_size=spec.output_size,
        state_layers=spec.state_layers,
        state_size=spec.state_size,
        weights_bytes=stack.weights_bytes,
        session_state_bytes=runtime.pool.slot_bytes,
        max_sessions=runtime.sessions.max_sessions,
        device=str(stack.device),
        metadata=spec.metadata,
    )
    _write_ends(info, spec)
    return info


def _write_ends(info: models_pb2.ModelInfo, spec: ModelSpec) -> None:
    if spec.embedding:
        info.embedding.num_embeddings = spec.embedding.num_embeddings
        info.embedding.embedding_dim = spec.embedding.embedding_dim
    if spec.head:
        info.head.out_features = spec.head.out_features
        info.head.bias = spec.head.bias


def _timestamp(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(int(np.round(seconds * 1e9)))
    return stamp
