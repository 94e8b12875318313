"""What rows begin with: their states, where they are given, and their context."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_server.errors import InvalidInput
from elman_server.exchange.model_view import ModelView, TensorField

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Initial:
    """Of K rows."""

    states: tuple[Array, ...] = ()
    """[layers or 1, K, *features] of each of the model's states; none: what the model begins with."""
    context: Mapping[str, Array] = field(default_factory=dict)
    """[K, *features] by name."""

    def of(self, rows: "slice | list[int]") -> "Initial":
        """Of some rows."""
        return Initial(tuple(array[:, rows] for array in self.states), self.context_of(rows))

    def context_of(self, rows: "NDArray[np.int64] | slice | list[int]") -> dict[str, Array]:
        """Of some rows."""
        return {name: array[rows] for name, array in self.context.items()}


NOTHING_GIVEN = Initial()


def check_context(view: ModelView, context: Mapping[str, Array], rows: int) -> None:
    """Raises InvalidInput unless `context` is what the model takes for so many rows, each value of it."""
    expected, given = [one.name for one in view.context], list(context)
    if set(expected) != set(given):
        raise InvalidInput(f"context: expected {_listed(expected)}, got {_listed(given)}")
    for one in view.context:
        check_tensor(one, context[one.name], "context", rows)


def check_states(view: ModelView, states: tuple[Array, ...], rows: int) -> None:
    """Raises InvalidInput unless `states` are none, or the model's for so many rows, their second axis."""
    if not states:
        return
    if len(states) != len(view.states):
        raise InvalidInput(f"initial state: expected {len(view.states)} tensors, got {len(states)}")
    for one, array in zip(view.states, states, strict=True):
        if array.shape != one.seam_shape(rows):
            raise InvalidInput(f"state {one.name!r}: expected {list(one.shape(rows))}, got {list(array.shape)}")
        check_tensor(one, array if one.layers else array[0], "state", rows)


def check_tensor(one: TensorField, array: Array, kind: str, rows: int) -> None:
    """Raises InvalidInput unless `array` is that tensor of so many rows, and each of its numbers may be run. `kind`: of
    tensor, in words."""
    shape = one.shape(rows)
    if array.dtype != one.dtype or array.shape != shape:
        raise InvalidInput(
            f"{kind} {one.name!r}: expected {one.dtype} {list(shape)}, got {array.dtype} {list(array.shape)}"
        )
    if one.num_embeddings and array.size and not (array.min() >= 0 and array.max() < one.num_embeddings):
        raise InvalidInput(f"{kind} {one.name!r}: ids are in [0, {one.num_embeddings}), and one that came is not")
    if not one.num_embeddings and not np.isfinite(array).all():
        raise InvalidInput(f"{kind} {one.name!r}: a value is NaN or infinite")


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
