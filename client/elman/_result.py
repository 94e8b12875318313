"""What comes back from a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, Literal, NamedTuple, TypeVar

from elman._errors import InvalidInputError
from elman.v1 import tensor_pb2
from elman.wire import Array

Returning = Literal["all", "last", "none"]
"""Which steps' outputs come back: every step's, the last one's only, or none."""

_RETURNS: Final[dict[str, tensor_pb2.Return.ValueType]] = {
    "all": tensor_pb2.RETURN_ALL,
    "last": tensor_pb2.RETURN_LAST,
    "none": tensor_pb2.RETURN_NONE,
}


@dataclass(frozen=True, eq=False)
class State:
    """The state of one session, of a pool's rows or of inferred sequences."""

    h_n: Array
    """[num_layers x directions, batch, proj_size or hidden_size]; batch is 1 for a session."""
    c_n: Array | None
    """[num_layers x directions, batch, hidden_size]; None unless the cell is an LSTM."""
    position: int | tuple[int, ...]
    """Time steps consumed: one number for a session, one per row otherwise."""


OutputT = TypeVar("OutputT")


class StepResult(NamedTuple, Generic[OutputT]):
    """The output of a step, as the step returns it without `state`, and the state after it."""

    output: OutputT
    state: State


def return_code(returning: str) -> tensor_pb2.Return.ValueType:
    """The contract's word for "all", "last" or "none". Raises TypeError, InvalidInputError."""
    expected = f"returning: expected one of {', '.join(_RETURNS)}, got {returning!r}"
    if not isinstance(returning, str):
        raise TypeError(expected)
    if returning not in _RETURNS:
        raise InvalidInputError(expected)
    return _RETURNS[returning]
