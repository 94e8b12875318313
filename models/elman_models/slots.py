"""Tensors by slot, of which pools of states are made; and slots as torch takes them."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

Slots = NDArray[np.int64]  # [B], distinct
_LINE = 64
"""Bytes of a cache line: where memory begins."""


class Index:
    """Slots that are of a pool, each once."""

    def __init__(self, slots: Slots, device: torch.device) -> None:
        self.slots = slots
        self._device = device
        self._tensor: torch.Tensor | None = None

    @property
    def tensor(self) -> torch.Tensor:
        """[B] int64, on the pool's device."""
        if self._tensor is None:
            index = torch.from_numpy(self.slots)
            if self._device.type == "cuda":
                # From memory that is not page-locked the copy would wait for all that the device has still to compute.
                index = index.pin_memory().to(self._device, non_blocking=True)
            self._tensor = index
        return self._tensor


class SlotIndex:
    """Slots as an index on the device, once they are proven to be distinct and of the pool."""

    def __init__(self, num_slots: int, device: torch.device) -> None:
        """Of a pool.

        Raises:
            ValueError: no slots.
        """
        if num_slots < 1:
            raise ValueError(f"num_slots: expected at least 1, got {num_slots}")
        self._num_slots = num_slots
        self._device = device
        self._indexed: tuple[Slots, Index] = (np.empty(0, np.int64), self._checked(np.empty(0, np.int64)))

    def of(self, slots: Slots) -> Index:
        """[B] int64.

        Raises:
            ValueError: a slot stands twice or is outside the pool.
        """
        # A batch reads and replaces the same slots, by the same array: what was checked once is not checked again.
        # The pair is taken and put whole: other slots may be reset on another thread meanwhile.
        indexed = self._indexed
        if slots is not indexed[0]:
            self._indexed = indexed = (slots, self._checked(slots))
        return indexed[1]

    def _checked(self, slots: Slots) -> Index:
        # Looked at here, on the host: out of bounds on CUDA is an assertion that ends the process's use of the device.
        in_order = np.sort(slots)
        if in_order.size and (in_order[0] < 0 or in_order[-1] >= self._num_slots):
            raise ValueError(f"a slot is outside the pool of {self._num_slots}: {in_order[0]} to {in_order[-1]}")
        if (in_order[1:] == in_order[:-1]).any():  # a tenth of the time of `np.unique`
            raise ValueError("a slot stands twice in one batch")
        return Index(slots.astype(np.int64), self._device)  # a copy: the caller's may change


class SlotTensor:
    """One tensor with an axis of slots: [slots, *features], or [layers, slots, *features].

    On CPU the memory comes as slots are touched; on CUDA it is allocated whole.
    """

    def __init__(
        self,
        name: str,
        layers: int | None,
        features: tuple[int, ...],
        num_slots: int,
        device: torch.device,
        dtype: torch.dtype,
        initial: torch.Tensor | None = None,
    ) -> None:
        """Its slots hold anything until they are written.

        Args:
            name: in errors.
            layers: of the axis before that of slots; None: there is none.
            features, num_slots, device, dtype: of the tensor.
            initial: what a slot is reset to, [*features] or [layers, *features]; None: zeros.
        """
        self.name = name
        self.axis = 0 if layers is None else 1
        self._before = () if layers is None else (layers,)
        self._features = features
        self.tensor = _allocate((*self._before, num_slots, *features), device, dtype)
        self._initial = None if initial is None else initial.to(self.tensor).unsqueeze(self.axis)
        is_plain = device.type == "cpu" and dtype in (torch.float32, torch.int64)
        self._array = self.tensor.numpy() if is_plain else None

    def read(self, index: Index) -> torch.Tensor:
        """A copy of some slots, [B, *features] or [layers, B, *features]."""
        if self._array is None:
            return self.tensor.index_select(self.axis, index.tensor)
        return torch.from_numpy(self._array.take(index.slots, self.axis))

    def check(self, given: torch.Tensor | None, batch: int) -> None:
        """Whether `given` is what `write` takes for so many slots.

        Raises:
            ValueError: it has another shape.
        """
        expected = [*self._before, batch, *self._features]
        got = None if given is None else list(given.shape)
        if got != expected:
            raise ValueError(f"{self.name}: expected shape {expected}, got {got}")

    def write(self, index: Index, given: torch.Tensor) -> None:
        """Writes some slots; other devices' and dtypes' numbers are converted."""
        if self._array is None or given.dtype is not self.tensor.dtype or not given.is_cpu:
            given = given.to(self.tensor)
        if self._array is None:
            self.tensor.index_copy_(self.axis, index.tensor, given)
        elif self.axis:  # three times as fast as index_copy_
            self._array[:, index.slots] = given.numpy()
        else:
            self._array[index.slots] = given.numpy()

    def reset(self, index: Index) -> None:
        """Puts some slots at what they begin with."""
        if self._initial is None:
            self.tensor.index_fill_(self.axis, index.tensor, 0)
        else:
            shape = list(self.tensor.shape)
            shape[self.axis] = len(index.slots)
            self.tensor.index_copy_(self.axis, index.tensor, self._initial.expand(shape))


def _allocate(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    if device.type != "cpu":
        return torch.empty(shape, device=device, dtype=dtype)
    # NumPy asks the system for huge pages, torch does not: first touches cost a third, reads of scattered rows half.
    num_bytes = math.prod(shape) * dtype.itemsize
    memory = np.empty(num_bytes + _LINE, np.uint8)
    begin = -memory.ctypes.data % _LINE
    return torch.from_numpy(memory[begin : begin + num_bytes]).view(dtype).view(shape)
