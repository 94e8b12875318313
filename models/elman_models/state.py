"""Room 6, state: all sessions' h and c in one preallocated pool, read and written by slots."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from elman_models.layout import has_repeats
from elman_models.spec import ModelSpec

Slots = NDArray[np.int64]  # [B], distinct
_LINE = 64
"""Bytes of a cache line: where memory begins."""


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
        if num_slots < 1:
            raise ValueError(f"num_slots: expected at least 1, got {num_slots}")
        h, c = _shapes(spec, num_slots)
        self.num_slots = num_slots
        self._device = device
        self._indexed: tuple[Slots, torch.Tensor] = (np.empty(0, np.int64), torch.empty(0, dtype=torch.int64))
        self._h = _allocate(h, device, dtype)  # [state_layers, num_slots, state_size]
        self._c = _allocate(c, device, dtype) if c else None  # [state_layers, num_slots, hidden_size]

    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot's state."""
        tensors = (self._h,) if self._c is None else (self._h, self._c)
        return sum(t.nbytes for t in tensors) // self.num_slots

    def read(self, slots: Slots) -> State:
        """A copy of the state of `slots`, in their order.

        Raises:
            ValueError: a slot stands twice or is outside the pool; so too for the other verbs.
        """
        index = self._index(slots)
        return State(self._h.index_select(1, index), None if self._c is None else self._c.index_select(1, index))

    def replace(self, slots: Slots, state: State) -> None:
        """Writes `state`, [state_layers, len(slots), ...], to `slots`; other slots are untouched.

        A state on another device or of another dtype is converted to the pool's.

        Raises:
            ValueError: also if the state has another shape, or lacks a `c` or has one too many; nothing is written.
        """
        index = self._index(slots)
        _check(self._h, state.h, len(slots), "h")
        _check(self._c, state.c, len(slots), "c")
        _write(self._h, index, state.h)
        if self._c is not None and state.c is not None:
            _write(self._c, index, state.c)

    def reset(self, slots: Slots) -> None:
        """Puts `slots` at the state before the first step."""
        index = self._index(slots)
        self._h.index_fill_(1, index, 0.0)
        if self._c is not None:
            self._c.index_fill_(1, index, 0.0)

    def _index(self, slots: Slots) -> torch.Tensor:
        # A batch reads and replaces the same slots, by the same array: what was checked once is not checked again.
        # The pair is taken and put whole: other slots may be reset on another thread meanwhile.
        indexed = self._indexed
        if slots is not indexed[0]:
            self._indexed = indexed = (slots, self._checked_index(slots))
        return indexed[1]

    def _checked_index(self, slots: Slots) -> torch.Tensor:
        # Looked at here, on the host: out of bounds on CUDA is an assertion that ends the process's use of the device.
        in_order = np.sort(slots)
        if in_order.size and (in_order[0] < 0 or in_order[-1] >= self.num_slots):
            raise ValueError(f"a slot is outside the pool of {self.num_slots}: {in_order[0]} to {in_order[-1]}")
        if has_repeats(in_order):
            raise ValueError("a slot stands twice in one batch")
        index = torch.from_numpy(slots.astype(np.int64))  # a copy: the caller's may change
        if self._device.type != "cuda":
            return index
        # From memory that is not page-locked the copy would wait for all that the device has still to compute.
        return index.pin_memory().to(self._device, non_blocking=True)


def _write(pool: torch.Tensor, index: torch.Tensor, given: torch.Tensor) -> None:
    given = given.to(pool)
    if pool.device.type == "cpu" and pool.dtype is torch.float32:
        pool.numpy()[:, index.numpy()] = given.numpy()  # three times as fast as index_copy_ there
    else:
        pool.index_copy_(1, index, given)


def _check(pool: torch.Tensor | None, given: torch.Tensor | None, batch: int, name: str) -> None:
    expected = None if pool is None else [pool.shape[0], batch, pool.shape[2]]
    got = None if given is None else list(given.shape)
    if got != expected:
        raise ValueError(f"{name}: expected shape {expected}, got {got}")


def _allocate(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    if device.type != "cpu":
        return torch.empty(shape, device=device, dtype=dtype)
    # NumPy asks the system for huge pages, torch does not: first touches cost a third, reads of scattered rows half.
    num_bytes = math.prod(shape) * dtype.itemsize
    memory = np.empty(num_bytes + _LINE, np.uint8)
    begin = -memory.ctypes.data % _LINE
    return torch.from_numpy(memory[begin : begin + num_bytes]).view(dtype).view(shape)
