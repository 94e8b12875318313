"""A plan in another dtype behind float32 inputs, outputs and states."""

import torch

from elman_models.packed import Packed
from elman_models.plans.plan import Plan
from elman_models.state import State


class CastPlan:
    """Casts what goes into `inner` to its dtype, and what comes out to float32: the pool's state stays float32."""

    def __init__(self, inner: Plan, dtype: torch.dtype) -> None:
        self.name = inner.name
        self._inner = inner
        self._dtype = dtype

    def run(self, input: Packed, state: State) -> tuple[torch.Tensor, State]:
        """See `Plan.run`."""
        output, after = self._inner.run(input._replace(data=input.data.to(self._dtype)), _to(state, self._dtype))
        return output.float(), _to(after, torch.float32)


def _to(state: State, dtype: torch.dtype) -> State:
    return State(state.h.to(dtype), None if state.c is None else state.c.to(dtype))
