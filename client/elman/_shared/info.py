"""What a model and a session are, as the server describes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

import numpy as np
from google.protobuf import timestamp_pb2

from elman import wire
from elman.v1 import models_pb2, sessions_pb2, tensor_pb2


class Cell(StrEnum):
    """The recurrent cells of `torch.nn`."""

    RNN_TANH = "rnn_tanh"
    RNN_RELU = "rnn_relu"
    LSTM = "lstm"
    GRU = "gru"


@dataclass(frozen=True)
class EmbeddingInfo:
    """A table of vectors before the stack, as `torch.nn.Embedding`."""

    num_embeddings: int
    """Token ids are in [0, num_embeddings)."""
    embedding_dim: int


@dataclass(frozen=True)
class HeadInfo:
    """A linear layer after the stack, as `torch.nn.Linear`."""

    out_features: int
    bias: bool


@dataclass(frozen=True)
class TensorInfo:
    """A tensor that a model takes, gives or keeps."""

    name: str
    wire_dtype: tensor_pb2.DataType.ValueType
    """The contract's `DataType`."""
    features: tuple[int, ...]
    """Of one time step; of a context and a state, of one row."""
    num_embeddings: int = 0
    """Ids are in [0, num_embeddings); 0 where the numbers are not ids."""
    layers: int = 0
    """A state of a stack is [layers, rows, *features]; 0: [rows, *features]."""
    last_only: bool = False
    """An output of which the author's module gives the last step alone."""
    per_row: bool = False
    """An output of a whole sequence: it has no steps."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """What it is cast to: float32, float16, or int64 ids."""
        return wire.numpy_dtype(self.wire_dtype)

    @cached_property
    def num_bytes(self) -> int:
        """As it travels, of one row or one step of it."""
        return wire.itemsize(self.wire_dtype) * math.prod(self.features) * (self.layers or 1)

    def inner_shape(self, rows: int) -> tuple[int, ...]:
        """Of a state of so many rows as it is kept here: rows are always the second axis."""
        return (self.layers or 1, rows, *self.features)

    @classmethod
    def from_proto(cls, message: models_pb2.TensorInfo) -> Self:
        """The server's description without protobuf."""
        return cls(
            name=message.name,
            wire_dtype=message.dtype,
            features=tuple(message.features),
            num_embeddings=message.num_embeddings,
            layers=message.layers,
            last_only=message.last_only,
            per_row=message.per_row,
        )


@dataclass(frozen=True)
class ModelInfo:
    """A loaded model; sizes mean what they mean in `torch.nn.LSTM`, and are 0 where the model has no such part."""

    name: str
    version: str
    description: str
    cell: Cell | None
    """None: the model is a graph of other parts."""
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    bidirectional: bool
    proj_size: int
    """0: no projection."""
    embedding: EmbeddingInfo | None
    """Set on token models, whose input is ids."""
    head: HeadInfo | None
    input_wire_dtype: tensor_pb2.DataType.ValueType
    """The contract's `DataType` of the input."""
    input_features: tuple[int, ...]
    """Features of one step's input: (input_size,), or () for token ids, and where there are several inputs."""
    output_wire_dtype: tensor_pb2.DataType.ValueType
    """The contract's `DataType` of outputs, h_n and c_n."""
    output_size: int
    state_layers: int
    """Rows of h_n and c_n: num_layers x directions; 0 where the state is not one stack's."""
    state_size: int
    """Width of h_n: proj_size, or hidden_size without projection. c_n is hidden_size wide."""
    weights_bytes: int
    session_state_bytes: int
    max_sessions: int
    device: str
    metadata: Mapping[str, str]
    """What the bundle's author wrote there."""
    inputs: tuple[TensorInfo, ...]
    """Of a time step, by name."""
    context: tuple[TensorInfo, ...]
    """What stays the same for a session, and is given when it begins."""
    states: tuple[TensorInfo, ...]
    """What a session carries from step to step."""
    outputs: tuple[TensorInfo, ...]
    needs_whole_sequences: bool
    """Whether it keeps no sessions: `infer` alone."""

    @property
    def input_dtype(self) -> np.dtype[Any]:
        """What the input is cast to: float32, float16, or int64 ids. AttributeError where there are several: `inputs`
        has that of each."""
        return self._only("input", self.inputs).dtype

    @property
    def output_dtype(self) -> np.dtype[Any]:
        """Of the output, and of h_n and c_n. AttributeError where there are several outputs: `outputs` has that of
        each."""
        return self._only("output", self.outputs).dtype

    @cached_property
    def input_step_bytes(self) -> int:
        """Of all inputs of a time step, as they travel."""
        return sum(one.num_bytes for one in self.inputs)

    @cached_property
    def output_step_bytes(self) -> int:
        """Of all outputs of a time step, as they travel."""
        return sum(one.num_bytes for one in self.outputs)

    @cached_property
    def gives_last_only(self) -> bool:
        """Whether the author's module gives the last step alone, of all outputs."""
        return all(one.last_only for one in self.outputs)

    @property
    def takes_tokens(self) -> bool:
        """Whether the input is token ids."""
        return len(self.inputs) == 1 and self.inputs[0].wire_dtype == tensor_pb2.DATA_TYPE_I64

    @property
    def has_stack_state(self) -> bool:
        """Whether the state is one stack's, h_n and perhaps c_n."""
        return self.state_layers > 0

    @property
    def has_cell_state(self) -> bool:
        """Whether there is a c_n."""
        return self.has_stack_state and len(self.states) > 1

    def _only(self, what: str, tensors: tuple[TensorInfo, ...]) -> TensorInfo:
        if len(tensors) != 1:
            names = ", ".join(repr(one.name) for one in tensors)
            raise AttributeError(f"{what}_dtype: model {self.name!r} has several {what}s, see `{what}s`: {names}")
        return tensors[0]

    @classmethod
    def from_proto(cls, message: models_pb2.ModelInfo) -> Self:
        """The server's description without protobuf."""
        embedding, head = message.embedding, message.head
        return cls(
            name=message.name,
            version=message.version,
            description=message.description,
            cell=_cell(message),
            input_size=message.input_size,
            hidden_size=message.hidden_size,
            num_layers=message.num_layers,
            bias=message.bias,
            bidirectional=message.bidirectional,
            proj_size=message.proj_size,
            embedding=EmbeddingInfo(embedding.num_embeddings, embedding.embedding_dim)
            if message.HasField("embedding")
            else None,
            head=HeadInfo(head.out_features, head.bias) if message.HasField("head") else None,
            input_wire_dtype=message.input_dtype,
            input_features=tuple(message.input_features),
            output_wire_dtype=message.output_dtype,
            output_size=message.output_size,
            state_layers=message.state_layers,
            state_size=message.state_size,
            weights_bytes=message.weights_bytes,
            session_state_bytes=message.session_state_bytes,
            max_sessions=message.max_sessions,
            device=message.device,
            metadata=dict(message.metadata),
            **_tensors(message),
            needs_whole_sequences=message.needs_whole_sequences or message.bidirectional,
        )


def _cell(message: models_pb2.ModelInfo) -> Cell | None:
    if message.cell == models_pb2.CELL_UNSPECIFIED:
        return None
    return Cell(models_pb2.Cell.Name(message.cell).removeprefix("CELL_").lower())


def _tensors(message: models_pb2.ModelInfo) -> dict[str, tuple[TensorInfo, ...]]:
    if message.inputs:
        fields = {name: getattr(message, name) for name in ("inputs", "context", "states", "outputs")}
        return {name: tuple(map(TensorInfo.from_proto, field)) for name, field in fields.items()}
    # An earlier server, which knows stacks alone.
    ids = message.embedding.num_embeddings
    given = TensorInfo("input", message.input_dtype, tuple(message.input_features), num_embeddings=ids)
    dtype, layers = message.output_dtype, message.state_layers
    h = TensorInfo("h", dtype, (message.state_size,), layers=layers)
    c = TensorInfo("c", dtype, (message.hidden_size,), layers=layers)
    states = (h, c) if message.cell == models_pb2.CELL_LSTM else (h,)
    output = TensorInfo("output", dtype, (message.output_size,))
    return {"inputs": (given,), "context": (), "states": states, "outputs": (output,)}


def model_label(info: ModelInfo) -> str:
    """Name and version, such as 'char-lm' version '1'."""
    return f"{info.name!r} version {info.version!r}"


@dataclass(frozen=True)
class SessionInfo:
    """A session on the server, as it was when the server was asked."""

    id: str
    model: str
    version: str
    """Of the model, which the session runs on."""
    position: int
    """Time steps applied."""
    admitted: int
    """Time steps applied or queued."""
    create_time: datetime | None
    """When it began; in UTC, as the others. None where the server does not say."""
    use_time: datetime | None
    """When its last step was, or when it was last opened."""
    expire_time: datetime | None
    """When it expires if nothing comes; None: never, or not while it has queued steps."""

    @classmethod
    def from_proto(cls, message: sessions_pb2.SessionInfo) -> Self:
        """The server's description without protobuf."""
        return cls(
            id=message.session_id,
            model=message.model,
            version=message.version,
            position=message.position,
            admitted=message.admitted,
            create_time=_time(message.create_time) if message.HasField("create_time") else None,
            use_time=_time(message.use_time) if message.HasField("use_time") else None,
            expire_time=_time(message.expire_time) if message.HasField("expire_time") else None,
        )


def _time(stamp: timestamp_pb2.Timestamp) -> datetime:
    return stamp.ToDatetime(UTC)
