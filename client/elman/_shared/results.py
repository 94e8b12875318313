"""What comes back from a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from elman.wire import Array


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
