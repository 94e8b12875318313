"""Domain answers into messages."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from elman import wire
from elman.v1 import inference_pb2, models_pb2, sessions_pb2, tensor_pb2
from elman_models.spec import Cell, ModelSpec
from elman_server.door.elman_v1.status import to_status
from elman_server.exchange.answers import Answer
from elman_server.exchange.model_view import ModelView, TensorField
from elman_server.exchange.served import ModelVersion
from elman_server.exchange.session_calls.calls import SessionView

Array = NDArray[Any]

_CELLS = {
    Cell.RNN_TANH: models_pb2.CELL_RNN_TANH,
    Cell.RNN_RELU: models_pb2.CELL_RNN_RELU,
    Cell.LSTM: models_pb2.CELL_LSTM,
    Cell.GRU: models_pb2.CELL_GRU,
}


class NamedTensors(Protocol):
    """A repeated field of tensors by name."""

    def add(self, *, name: str) -> tensor_pb2.NamedTensor:
        """One more."""
        ...


HasTensors = inference_pb2.StepResponse | inference_pb2.InferResponse | sessions_pb2.DescribeSessionResponse


def write_answer(frame_id: int, answer: Answer, view: ModelView | None) -> inference_pb2.StepResponse:
    """One frame's part of an engine step; `view`: of its model, if any tensor comes."""
    if answer.frame_error is not None:
        return inference_pb2.StepResponse(frame_id=frame_id, frame_error=to_status(answer.frame_error))
    response = inference_pb2.StepResponse(
        frame_id=frame_id,
        lengths=answer.lengths.tolist(),
        finished=answer.finished.tolist(),
        positions=answer.positions.tolist(),
    )
    if view is not None:
        write_outputs(response, view, answer.output)
        write_states(response, view, answer.states)
    if answer.rows is not None:
        response.rows.extend(answer.rows.tolist())
    if answer.starts is not None:
        response.starts.extend(answer.starts.tolist())
    for row, error in answer.errors:
        response.errors.add(row=row, status=to_status(error))
    return response


def write_outputs(message: inference_pb2.StepResponse, view: ModelView, output: Array | None) -> None:
    """Fills the message's `output`, or `outputs`, with the record of those that are wanted; None leaves them absent."""
    if output is None:
        return
    if view.output.is_plain:
        wire.fill_tensor(message.output, output)
        return
    for name in output.dtype.names or ():
        add_named(message.outputs, name, output[name])


def write_states(message: HasTensors, view: ModelView, states: Sequence[Array]) -> None:
    """Fills the message's `h_n` and `c_n`, or `states`, with [layers or 1, rows, *features] of each; none leaves them
    absent."""
    if view.has_stack_state:
        for field, array in zip(("h_n", "c_n"), states, strict=False):
            wire.fill_tensor(getattr(message, field), array)
        return
    for one, array in zip(view.states, states, strict=False):
        add_named(message.states, one.name, array if one.layers else array[0])


def write_marks(response: sessions_pb2.DescribeSessionResponse, marks: Mapping[str, int]) -> None:
    """Fills `marks` with positions by name."""
    for name, position in marks.items():
        response.marks.add(name=name, position=position)


def add_named(field: NamedTensors, name: str, array: Array) -> None:
    """Adds a tensor by name, float32 or int64."""
    wire.fill_tensor(field.add(name=name).tensor, array)


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


def write_model(runtime: ModelVersion) -> models_pb2.ModelInfo:
    """What a loaded model is."""
    spec, view = runtime.spec, runtime.view
    info = models_pb2.ModelInfo(
        name=spec.name,
        version=spec.version,
        description=spec.description,
        weights_bytes=runtime.weights_bytes,
        session_state_bytes=runtime.slot_bytes,
        max_sessions=0 if runtime.view.needs_whole_sequences else runtime.sessions.max_sessions,
        device=str(runtime.device),
        metadata=spec.metadata,
        inputs=map(_info, view.input.fields),
        context=map(_info, view.context),
        states=map(_info, view.states),
        outputs=map(_info, view.output.fields),
        needs_whole_sequences=view.needs_whole_sequences,
    )
    _write_single(info, view)
    if isinstance(spec, ModelSpec):
        _write_stack(info, spec)
    return info


def _info(field: TensorField) -> models_pb2.TensorInfo:
    return models_pb2.TensorInfo(
        name=field.name,
        dtype=field.wire_dtype,  # type: ignore[arg-type]
        features=field.features,
        num_embeddings=field.num_embeddings,
        layers=field.layers,
        last_only=field.last_only,
        per_row=field.per_row,
    )


def _write_single(info: models_pb2.ModelInfo, view: ModelView) -> None:
    # What is said again where there is one input, one output, one stack's state.
    if view.input.is_plain:
        one = view.input.fields[0]
        info.input_dtype = one.wire_dtype  # type: ignore[assignment]
        info.input_features.extend(one.features)
    if view.output.is_plain:
        one = view.output.fields[0]
        info.output_dtype = one.wire_dtype  # type: ignore[assignment]
        info.output_size = one.features[0] if len(one.features) == 1 else 0
    if view.has_stack_state:
        info.state_layers = view.states[0].layers
        info.state_size = view.states[0].features[0]


def _write_stack(info: models_pb2.ModelInfo, spec: ModelSpec) -> None:
    info.cell = _CELLS[spec.cell]
    info.input_size = spec.input_size
    info.hidden_size = spec.hidden_size
    info.num_layers = spec.num_layers
    info.bias = spec.bias
    info.bidirectional = spec.bidirectional
    info.proj_size = spec.proj_size
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
