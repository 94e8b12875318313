"""Room 6, state: all sessions' h and c in one preallocated pool, read and written by slots."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from elman_models.spec import ModelSpec

Slots = NDArray[np.int64]  # [B], distinct


class State(NamedTuple):
    """What a stack carries from one step to the next."""

    h: torch.Tensor  # [state_layers, B, state_size], device
    c: torch.Tensor | None  # [state_layers, B, hidden_size], device; LSTM only

    @classmethod
    def zeros(cls, spec: ModelSpec, batch: int, device: torch.device, dtype: torch.dtype = torch.float32) -> "State":
        """The state before the first step, as `torch.nn` begins."""
        h, c = _shapes(spec, batch)
        return cls(
            torch.zeros(h, device=device, dtype=dtype),
            torch.zeros(c, device=device, dtype=dtype) if c else None,
        )

    def rows(self, index: torch.Tensor) -> "State":
        """The state of some of the rows; `index` int64 [n]."""
        return State(self.h.index_select(1, index), None if self.c is None else self.c.index_select(1, index))


def _shapes(spec: ModelSpec, batch: int) -> tuple[tuple[int, int, int], tuple[int, int, int] | None]:
    h = (spec.state_layers, batch, spec.state_size)
    c = (spec.state_layers, batch, spec.hidden_size) if spec.has_cell_state else None
    return h, c


class StatePool:
    """The state of every slot, on the model's device. Three verbs: read, replace, reset.

    On CPU the memory comes as slots are touched; on CUDA it is allocated whole.
    """

    def __init__(
        self, spec: ModelSpec, num_slots: int, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        h, c = _shapes(spec, num_slots)
        self.num_slots = num_slots
        self._device = device
        self._h = torch.empty(h, device=device, dtype=dtype)  # [state_layers, num_slots, state_size]
        self._c = torch.empty(c, device=device, dtype=dtype) if c else None  # [state_layers, num_slots, hidden_size]

    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot's state."""
        tensors = (self._h,) if self._c is None else (self._h, self._c)
        return sum(t.nbytes for t in tensors) // self.num_slots

    def read(self, slots: Slots) -> State:
        """A copy of the state of `slots`."""
        index = self._index(slots)
        return State(self._h.index_select(1, index), None if self._c is None else self._c.index_select(1, index))

    def replace(self, slots: Slots, state: State) -> None:
        """Writes `state`, [state_layers, len(slots), ...], to `slots`; other slots are untouched."""
        index = self._index(slots)
        self._h.index_copy_(1, index, state.h)
        if self._c is not None and state.c is not None:
            self._c.index_copy_(1, index, state.c)

    def reset(self, slots: Slots) -> None:
        """Puts `slots` at the state before the first step."""
        index = self._index(slots)
        self._h.index_fill_(1, index, 0.0)
        if self._c is not None:
            self._c.index_fill_(1, index, 0.0)

    def _index(self, slots: Slots) -> torch.Tensor:
        if slots.size > 1 and np.unique(slots).size != slots.size:
            raise ValueError("a slot stands twice in one batch")
        return torch.from_numpy(slots).to(self._device)
