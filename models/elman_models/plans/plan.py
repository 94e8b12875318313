"""A plan: one way to run the recurrent stack on a packed batch."""

from typing import Protocol

import torch

from elman_models.packed import Packed
from elman_models.state import State


class Plan(Protocol):
    """One way to execute a batch. Plans agree with `torch.nn` within rounding and differ in speed."""

    name: str
    """Short and stable: it labels metrics and stands in plan tables."""

    def run(self, input: Packed, state: State) -> tuple[torch.Tensor, State]:
        """One call of the stack.

        Args:
            input: data [N, input_size] of the plan's dtype, on the model's device; row b has the b-th longest part.
            state: h [state_layers, B, state_size] and, for an LSTM, c [state_layers, B, hidden_size].

        Returns:
            output [N, stack_output_size] in the packed layout, and each row's state after its last step.
        """
        ...
