"""What every operation of the vocabulary is: parameters, shapes, weights, states, and a function of tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field

from elman_models.graph.value import DType, Per, Value
from elman_models.spec import MAX_SIZE

Dimension = Annotated[int, Field(ge=1, le=MAX_SIZE, strict=True)]
"""A size."""
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Scalar = Annotated[int, Field(strict=True)] | Number
Count = Annotated[int, Field(ge=0, le=1 << 16, strict=True)]
Axis = Annotated[int, Field(ge=-8, le=7, strict=True)]
"""Counts features alone: 0 is the first after those of time and batch, -1 the last."""
Index = Annotated[int, Field(ge=-MAX_SIZE, le=MAX_SIZE, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Features = Annotated[tuple[Dimension, ...], Field(max_length=8)]

Result = torch.Tensor | tuple[torch.Tensor, ...]
Function = Callable[[torch.Tensor], torch.Tensor]
Run = Callable[..., Result]
"""Of an operation's inputs, then its states; gives its results, then its states as they are after. One that
`needs_sizes` is given the rows that have step t, [seq_len], before all."""


@dataclass(frozen=True)
class Weight:
    """A tensor of the file that an operation takes."""

    shape: tuple[int, ...]
    dtype: DType = DType.FLOAT32
    is_optional: bool = False


@dataclass(frozen=True)
class StateShape:
    """A tensor that an operation carries from step to step: [B, *features], or [layers, B, *features]."""

    features: tuple[int, ...]
    layers: int | None = None


class Operation(BaseModel):
    """One operation with its parameters, which are its fields.

    What is wrong with its inputs or parameters is a ValueError, in words; the graph says of which node.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    arity: ClassVar[tuple[int, int]] = (1, 1)
    """The least and the greatest number of inputs."""
    needs_sizes: ClassVar[bool] = False
    """Whether it has to know which packed element is of which row."""

    op: str
    """Its name in the vocabulary."""

    @property
    def results(self) -> tuple[str, ...]:
        """What it gives, by name; the first is meant by the node's name alone, others by `node:result`."""
        return ("output",)

    @property
    def looks_ahead(self) -> bool:
        """Whether a step's result depends on later steps, or on how many there are: no streaming graph has it."""
        return False

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """Its results' values.

        Raises:
            ValueError: inputs of the wrong shape, kind or number.
        """
        raise NotImplementedError

    def weights(self, inputs: Sequence[Value]) -> dict[str, Weight]:
        """The tensors of the file that it takes, by the parameter's name; `inputs` have passed `infer`."""
        return {}

    def states(self, inputs: Sequence[Value]) -> dict[str, StateShape]:
        """What it carries from step to step, by name, in the order of `bind`; `inputs` have passed `infer`."""
        return {}

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """The function that runs it, with everything known ahead bound."""
        raise NotImplementedError


def joined(values: Sequence[Value]) -> Per:
    """What the result of an operation on all of them is per.

    Raises:
        ValueError: one is per row and one per step.
    """
    kinds = {value.per for value in values}
    if {Per.STEP, Per.ROW} <= kinds:
        raise ValueError("one input is per step, one per row; an `each_step` gives every step its row's value")
    return Per.STEP if Per.STEP in kinds else Per.ROW if Per.ROW in kinds else Per.MODEL


def expect(what: str, wanted: object, got: object) -> None:
    """Nothing where both are equal.

    Raises:
        ValueError: `what`: expected `wanted`, got `got`.
    """
    if wanted != got:
        raise ValueError(f"{what}: expected {_words(wanted)}, got {_words(got)}")


def _words(given: object) -> str:
    return str(list(given)) if isinstance(given, tuple) else str(given)


def expect_floats(*values: Value) -> None:
    """Raises ValueError where one is not float32."""
    for value in values:
        expect("input's dtype", DType.FLOAT32, value.dtype)


def common_bound(values: Sequence[Value]) -> int | None:
    """What numbers of all of them are below, where that is known."""
    bounds = [value.bound for value in values]
    return None if None in bounds else max(bound for bound in bounds if bound is not None)


def expect_ids(value: Value, num_embeddings: int) -> None:
    """Nothing where `value` is proven to hold ids in [0, num_embeddings): one outside ends the process's use of a GPU.

    Raises:
        ValueError: it is not.
    """
    expect("input's dtype", DType.INT64, value.dtype)
    if value.bound is None:
        raise ValueError(f"input: expected ids known to be in [0, {num_embeddings}); a `clamp` makes them so")
    if value.bound > num_embeddings:
        raise ValueError(f"input: expected ids in [0, {num_embeddings}), but they may be up to {value.bound - 1}")


def axis_of(axis: int, value: Value) -> int:
    """`axis` of the features, counted from the last, which is good with and without an axis for the batch.

    Raises:
        ValueError: the value has no such axis.
    """
    rank = len(value.features)
    if not -rank <= axis < rank:
        raise ValueError(f"axis: expected one of the {rank} of {list(value.features)}, got {axis}")
    return axis - rank if axis >= 0 else axis


def broadcast(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The features that all can be read as, by the rule of NumPy and torch.

    Raises:
        ValueError: there are none.
    """
    rank = max(map(len, shapes))
    columns = zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True)
    sizes = [{size for size in column if size != 1} for column in columns]
    if any(len(column) > 1 for column in sizes):
        raise ValueError(f"features {' and '.join(str(list(s)) for s in shapes)} do not go together")
    return tuple(column.pop() if column else 1 for column in sizes)


def aligned(value: Value, rank: int) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """What gives a tensor of `value` as many axes of features as `rank`, so that it broadcasts; None: it has them."""
    missing = rank - len(value.features)
    if not missing or not value.has_batch:
        return None
    shape = (-1, *(1,) * missing, *value.features)
    return lambda tensor: tensor.view(shape) if tensor.is_contiguous() else tensor.reshape(shape)
