"""The spec of a graph, bundle format 2: inputs, states, nodes, outputs; what a model is, apart from its weights."""

from enum import StrEnum
from math import prod
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from elman_models.graph.inference import Inferred, infer
from elman_models.graph.operations.operation import Features
from elman_models.graph.value import DType, Per, Value
from elman_models.spec import HandOffSpec, Name, Precision, Size, check_hand_off

FORMAT = 2
MAX_NODES = 10_000

ValueName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]
"""Of an input, a state, a node or an output."""
Reference = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}(:[a-z0-9_]{1,32})?$")]
"""To a value: its name, or `node:result` for another than a node's first result."""
TensorName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,255}$")]
"""Of a tensor in weights.safetensors."""
_Int = Annotated[int, Field(strict=True)]
_Float = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Bool = Annotated[bool, Field(strict=True)]
_Text = Annotated[str, StringConstraints(max_length=64)]
_List = Annotated[tuple[_Int, ...], Field(max_length=256)]
Parameter = _Bool | _Int | _Float | _Text | _List | None


class Kind(StrEnum):
    """How a graph goes along a sequence."""

    STREAMING = "streaming"
    """Every node works on each step alone, or carries its state: a sequence can be fed in parts."""
    STEP = "step"
    """Likewise, and some states are computed by the nodes themselves (`StateSpec.next`)."""
    WHOLE = "whole"
    """Some node needs the whole sequence: no sessions, `Infer` only, which gives and keeps final states."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class InputSpec(_Strict):
    """An input: at each time step, or of a session once (context), a tensor of these features."""

    name: ValueName
    dtype: Literal[DType.FLOAT32, DType.INT64] = DType.FLOAT32
    features: Features = ()
    num_embeddings: Size | None = None
    """Of int64 ids: they are in [0, num_embeddings), which is looked at before a step runs."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        _check_ids(self.name, self.dtype, self.num_embeddings)
        return self

    def value(self, per: Per) -> Value:
        """What is known of it."""
        return Value(self.features, DType(self.dtype), per, self.num_embeddings)


class StateSpec(_Strict):
    """A tensor that is carried from step to step: [B, *features], or [layers, B, *features] of a recurrence. In a whole
    graph: what a recurrence ends with, and begins with, unless that is a further input of it."""

    name: ValueName
    features: Features = ()
    layers: Annotated[int, Field(ge=1, le=1024, strict=True)] | None = None
    dtype: Literal[DType.FLOAT32, DType.INT64] = DType.FLOAT32
    num_embeddings: Size | None = None
    """Of int64 ids, as an input's."""
    initial: TensorName | None = None
    """The tensor that it begins with, of its shape without B; none: zeros."""
    next: Reference | None = None
    """The value that it has after each step, as the state's own name is that before it; none: a node carries it."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        _check_ids(self.name, self.dtype, self.num_embeddings)
        if self.next is not None and self.layers is not None:
            raise ValueError(f"states.{self.name}: a state with `next` is [B, *features], it has no layers")
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Without B."""
        return self.features if self.layers is None else (self.layers, *self.features)

    @property
    def numel(self) -> int:
        """Numbers of one row."""
        return prod(self.shape)


class Node(_Strict):
    """One operation on values that stand before it."""

    name: ValueName
    op: _Text
    inputs: tuple[Reference, ...] = ()
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    weights: dict[str, TensorName] = Field(default_factory=dict)
    """The tensor of each weight."""
    states: dict[str, ValueName] = Field(default_factory=dict)
    """The state that each of the operation's own is."""


class OutputSpec(_Strict):
    """An output: a value, by a name of its own."""

    name: ValueName
    value: Reference
    last_only: _Bool = False
    """Whether the author's module gives that of the last step alone; a caller may ask for every step all the same."""


class GraphSpec(_Strict):
    """A model as a graph."""

    format: Literal[2] = 2
    name: Name
    version: Name = "1"
    description: Annotated[str, StringConstraints(max_length=1000)] = ""
    kind: Kind = Kind.STREAMING
    precision: Precision = Precision.FLOAT32
    """As `ModelSpec.precision`, for the recurrences."""
    metadata: dict[str, str] = Field(default_factory=dict)
    inputs: Annotated[tuple[InputSpec, ...], Field(min_length=1, max_length=64)]
    context: Annotated[tuple[InputSpec, ...], Field(max_length=64)] = ()
    """Inputs that stay the same for a session."""
    states: Annotated[tuple[StateSpec, ...], Field(max_length=1024)] = ()
    nodes: Annotated[tuple[Node, ...], Field(max_length=MAX_NODES)]
    """In an order in which each follows those that it needs."""
    outputs: Annotated[tuple[OutputSpec, ...], Field(min_length=1, max_length=64)]
    hand_off: HandOffSpec | None = None
    """As `ModelSpec.hand_off`."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        infer(self)
        layers = {s.name: s.layers or 1 for s in self.states}
        check_hand_off(self.hand_off, self.state_sizes, layers, keeps_sessions=self.keeps_sessions)
        return self

    @property
    def state_sizes(self) -> dict[str, int | None]:
        """Of the last axis of each state of floats that has one."""
        floats = {s.name for s in self.states if s.dtype is DType.FLOAT32 and s.features}
        return {s.name: s.features[-1] if s.name in floats else None for s in self.states}

    def inferred(self) -> Inferred:
        """Every value, tensor and operation, as they were proven to agree."""
        return infer(self)

    @property
    def keeps_sessions(self) -> bool:
        """Whether a sequence can be fed in parts."""
        return self.kind is not Kind.WHOLE

    @property
    def computed_starts(self) -> dict[str, str]:
        """Of a whole graph, by name: the states that begin with a value of the graph, and with which; nobody gives such
        a one."""
        if self.keeps_sessions:
            return {}
        begun = [node for node in self.nodes if node.states and len(node.inputs) > 1]
        return {node.states[own]: value for node in begun for own, value in zip("hc", node.inputs[1:], strict=False)}

    @property
    def state_numel(self) -> int:
        """Numbers in one sequence's state, without its context."""
        return sum(state.numel for state in self.states)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor's name and shape."""
        return {name: weight.shape for name, weight in self.inferred().tensors.items()}


def _check_ids(name: str, dtype: DType, num_embeddings: int | None) -> None:
    if dtype is DType.FLOAT32 and num_embeddings is not None:
        raise ValueError(f"{name}: num_embeddings is of int64 ids, dtype is {dtype}")
