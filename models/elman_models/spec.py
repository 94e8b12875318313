"""The spec: what a model is, apart from its weights."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

MAX_SIZE = 1 << 20
"""Largest size of any one dimension: beyond it a spec is a mistake, not a model."""

Size = Annotated[int, Field(ge=1, le=MAX_SIZE, strict=True)]
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
NAME_IN_WORDS = "1 to 128 letters (A to Z), digits, dots, dashes and underscores, the first a letter or digit"
Name = Annotated[str, StringConstraints(pattern=_NAME)]
Flag = Annotated[bool, Field(strict=True)]
Directions = Literal["keep", "concatenate", "sum"]
"""What becomes of the two directions of a bidirectional stack."""
Activation = Literal["tanh", "relu", "sigmoid", "silu", "selu", "softsign"]
"""Behind a linear layer."""


def is_name(text: str) -> bool:
    """Whether a model may be called so."""
    return re.fullmatch(_NAME, text) is not None


class Cell(StrEnum):
    """The recurrent cells of `torch.nn`."""

    RNN_TANH = "rnn_tanh"
    RNN_RELU = "rnn_relu"
    LSTM = "lstm"
    GRU = "gru"

    @property
    def num_gates(self) -> int:
        """Rows of a weight matrix per hidden unit."""
        return {Cell.LSTM: 4, Cell.GRU: 3}.get(self, 1)


class Precision(StrEnum):
    """What numbers plans may compute with; weights are loaded, and states kept, as float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class EmbeddingSpec(_Strict):
    """A table of vectors before the stack, as `torch.nn.Embedding`."""

    num_embeddings: Size
    """Token ids are in [0, num_embeddings)."""
    embedding_dim: Size
    """Equals the stack's `input_size`."""


class HeadSpec(_Strict):
    """A linear layer after the stack, as `torch.nn.Linear`."""

    out_features: Size
    bias: Flag = True


class LinearSpec(_Strict):
    """A linear layer from another model's state to one of this model's, as `torch.nn.Linear`."""

    in_features: Size
    bias: Flag = True


class StateFromSpec(_Strict):
    """How a state is made of another model's, where a session begins from that."""

    state: Annotated[str, StringConstraints(max_length=128)] = ""
    """The other model's; empty: of the same name."""
    directions: Directions = "keep"
    """First the two directions of a bidirectional stack are joined, layer by layer,"""
    layers: Annotated[tuple[Annotated[int, Field(ge=0, lt=1 << 32, strict=True)], ...], Field(max_length=1024)] = ()
    """then these layers are picked, in this order (none: all),"""
    linear: LinearSpec | None = None
    """then each of them goes through a linear layer: tensors `hand_off.STATE.weight` and `.bias`,"""
    activation: Activation | None = None
    """and through this."""


HandOffSpec = dict[Annotated[str, StringConstraints(max_length=128)], StateFromSpec]
"""By the states that are made."""


def check_hand_off(
    hand_off: HandOffSpec | None,
    sizes: Mapping[str, int | None],
    layers: Mapping[str, int],
    *,
    keeps_sessions: bool,
) -> None:
    """Raises ValueError where it is of no state, or picks other than its `layers`; `sizes`: of the last axis of each
    state, None where it has no such."""
    for name, one in (hand_off or {}).items():
        where = f"hand_off.{name}"
        if not keeps_sessions:
            raise ValueError(f"{where}: the model keeps no sessions that could begin from a state")
        if name not in sizes:
            raise ValueError(f"{where}: the model has no state {name!r}; it has {', '.join(sizes) or 'none'}")
        if one.layers and len(one.layers) != layers[name]:
            raise ValueError(
                f"{where}.layers: expected {layers[name]}, as many as the state has, got {len(one.layers)}"
            )
        if one.linear and sizes[name] is None:
            raise ValueError(f"{where}.linear: the state is of ids, or of single numbers")
        if one.activation and not one.linear:
            raise ValueError(f"{where}.activation: stands behind a linear layer, and there is none")


def hand_off_shapes(hand_off: HandOffSpec | None, sizes: Mapping[str, int | None]) -> dict[str, tuple[int, ...]]:
    """Of the linear layers' tensors, by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, one in (hand_off or {}).items():
        size = sizes.get(name)
        if one.linear and size is not None:
            shapes[f"hand_off.{name}.weight"] = (size, one.linear.in_features)
            if one.linear.bias:
                shapes[f"hand_off.{name}.bias"] = (size,)
    return shapes


class ModelSpec(_Strict):
    """A stacked recurrent network; sizes mean what they mean in `torch.nn.LSTM`."""

    name: Name
    version: Name = "1"
    description: Annotated[str, StringConstraints(max_length=1000)] = ""
    cell: Cell
    input_size: Size
    hidden_size: Size
    num_layers: Annotated[int, Field(ge=1, le=256, strict=True)] = 1
    bias: Flag = True
    bidirectional: Flag = False
    proj_size: Annotated[int, Field(ge=0, le=MAX_SIZE, strict=True)] = 0
    """0: no projection. LSTM only, and smaller than `hidden_size`."""
    embedding: EmbeddingSpec | None = None
    head: HeadSpec | None = None
    precision: Precision = Precision.FLOAT32
    """The least that the stack may be computed with: a lower one is used where it is faster, and float32 elsewhere.
    int8 allows bfloat16, too; it is used on CPUs that have VNNI, float16 on CUDA. Weights, states, inputs and outputs
    stay float32."""
    metadata: dict[str, str] = Field(default_factory=dict)
    """Told to clients as it is."""
    hand_off: HandOffSpec | None = None
    """How sessions begin from another model's state; none: each state is the one of the same name."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.proj_size and self.cell is not Cell.LSTM:
            raise ValueError(f"proj_size: only lstm has a projection, cell is {self.cell}")
        if self.proj_size >= self.hidden_size:
            raise ValueError(f"proj_size: must be smaller than hidden_size {self.hidden_size}, got {self.proj_size}")
        if self.embedding and self.embedding.embedding_dim != self.input_size:
            raise ValueError(
                f"embedding.embedding_dim: must equal input_size {self.input_size}, got {self.embedding.embedding_dim}"
            )
        layers = dict.fromkeys(self._state_sizes, self.num_layers)
        check_hand_off(self.hand_off, self._state_sizes, layers, keeps_sessions=self.keeps_sessions)
        return self

    @property
    def _state_sizes(self) -> dict[str, int | None]:
        sizes: dict[str, int | None] = {"h": self.state_size, "c": self.hidden_size}
        return sizes if self.has_cell_state else {"h": self.state_size}

    @property
    def num_directions(self) -> int:
        """2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def state_layers(self) -> int:
        """Rows of `h_n` and `c_n`: num_layers x num_directions."""
        return self.num_layers * self.num_directions

    @property
    def state_size(self) -> int:
        """Width of `h_n`: proj_size, or hidden_size without projection."""
        return self.proj_size or self.hidden_size

    @property
    def has_cell_state(self) -> bool:
        """Whether there is a `c_n`, [state_layers, batch, hidden_size]."""
        return self.cell is Cell.LSTM

    @property
    def stack_output_size(self) -> int:
        """Features of the stack's output, before the head."""
        return self.state_size * self.num_directions

    @property
    def output_size(self) -> int:
        """Features of one step's output."""
        return self.head.out_features if self.head else self.stack_output_size

    @property
    def input_features(self) -> tuple[int, ...]:
        """Features of one step's input: (input_size,), or () for token ids."""
        return () if self.embedding else (self.input_size,)

    @property
    def keeps_sessions(self) -> bool:
        """Whether a sequence can be fed in parts: not if bidirectional, which begins at the sequence's end too."""
        return not self.bidirectional

    @property
    def state_numel(self) -> int:
        """Numbers in one sequence's state."""
        cell = self.hidden_size if self.has_cell_state else 0
        return self.state_layers * (self.state_size + cell)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every parameter's name and shape, as `state_dict()` of a module with the attributes `embedding`,
        `rnn` and `head` has them (names: torch.nn.LSTM, "Variables"); and those of `hand_off`."""
        shapes: dict[str, tuple[int, ...]] = {}
        if self.embedding:
            shapes["embedding.weight"] = (self.embedding.num_embeddings, self.embedding.embedding_dim)
        for layer in range(self.num_layers):
            for suffix in ("", "_reverse")[: self.num_directions]:
                shapes.update(self._layer_shapes(layer, suffix))
        if self.head:
            shapes["head.weight"] = (self.head.out_features, self.stack_output_size)
            if self.head.bias:
                shapes["head.bias"] = (self.head.out_features,)
        return shapes | hand_off_shapes(self.hand_off, self._state_sizes)

    def _layer_shapes(self, layer: int, suffix: str) -> dict[str, tuple[int, ...]]:
        gates = self.cell.num_gates * self.hidden_size
        inputs = self.stack_output_size if layer else self.input_size
        shapes: dict[str, tuple[int, ...]] = {
            f"rnn.weight_ih_l{layer}{suffix}": (gates, inputs),
            f"rnn.weight_hh_l{layer}{suffix}": (gates, self.state_size),
        }
        if self.bias:
            shapes[f"rnn.bias_ih_l{layer}{suffix}"] = (gates,)
            shapes[f"rnn.bias_hh_l{layer}{suffix}"] = (gates,)
        if self.proj_size:
            shapes[f"rnn.weight_hr_l{layer}{suffix}"] = (self.proj_size, self.hidden_size)
        return shapes
