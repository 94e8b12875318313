"""Room 6, state: all sessions' h and c in one preallocated pool, read and written by slots."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from elman_models.slots import SlotIndex, Slots, SlotTensor
from elman_models.spec import ModelSpec


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

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """h and, of an LSTM, c."""
        return (self.h,) if self.c is None else (self.h, self.c)

    def repeated(self, count: int) -> "State":
        """That of one row, for so many."""
        h, c = self.h.expand(-1, count, -1), None if self.c is None else self.c.expand(-1, count, -1)
        return State(h.contiguous(), None if c is None else c.contiguous())

    def rows(self, indices: Sequence[int]) -> "State":
        """Those of some rows, one or several times each."""
        index = torch.tensor(indices, device=self.h.device)
        return State(self.h.index_select(1, index), None if self.c is None else self.c.index_select(1, index))

    def row(self, index: int) -> "State":
        """A copy of one row's state, [state_layers, 1, ...]."""
        h, c = self.h[:, index : index + 1], None if self.c is None else self.c[:, index : index + 1]
        return State(h.clone(), None if c is None else c.clone())


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
        """Allocates the pool; its slots hold anything until `reset` or `replace`.

        Args:
            spec: the model, whose state a slot holds.
            num_slots: at least 1.
            device, dtype: of the state, as the plan wants it.

        Raises:
            ValueError: no slots.
        """
        self._index = SlotIndex(num_slots, device)
        self.num_slots = num_slots
        layers = spec.state_layers
        self._h = SlotTensor("h", layers, (spec.state_size,), num_slots, device, dtype)
        self._c = (
            SlotTensor("c", layers, (spec.hidden_size,), num_slots, device, dtype) if spec.has_cell_state else None
        )

    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot's state."""
        return sum(one.tensor.nbytes for one in (self._h, self._c) if one is not None) // self.num_slots

    def read(self, slots: Slots) -> State:
        """A copy of the state of `slots`, in their order.

        Raises:
            ValueError: a slot stands twice or is outside the pool; so too for the other verbs.
        """
        index = self._index.of(slots)
        return State(self._h.read(index), None if self._c is None else self._c.read(index))

    def replace(self, slots: Slots, state: State) -> None:
        """Writes `state`, [state_layers, len(slots), ...], to `slots`; other slots are untouched.

        A state on another device or of another dtype is converted to the pool's.

        Raises:
            ValueError: also if the state has another shape, or lacks a `c` or has one too many; nothing is written.
        """
        index = self._index.of(slots)
        self._h.check(state.h, len(slots))
        if self._c is not None:
            self._c.check(state.c, len(slots))
        elif state.c is not None:
            raise ValueError(f"c: expected shape None, got {list(state.c.shape)}")
        self._h.write(index, state.h)
        if self._c is not None and state.c is not None:
            self._c.write(index, state.c)

    def reset(self, slots: Slots) -> None:
        """Puts `slots` at the state before the first step."""
        index = self._index.of(slots)
        self._h.reset(index)
        if self._c is not None:
            self._c.reset(index)
