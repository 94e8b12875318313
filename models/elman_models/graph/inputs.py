"""What a step of a graph is given: its inputs, packed alike."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from elman_models.packed import Packed


class PackedInputs(NamedTuple):
    """Ragged sequences of several inputs, without padding; see `Packed`."""

    data: tuple[torch.Tensor, ...]  # [sum(batch_sizes), *features] each, in the order of the spec's inputs, device
    batch_sizes: NDArray[np.int64]  # [seq_len], rows that have step t, non-increasing

    @classmethod
    def of(cls, input: Packed) -> "PackedInputs":
        """A single one."""
        return cls((input.data,), input.batch_sizes)

    @classmethod
    def named(
        cls, names: Sequence[str], tensors: Mapping[str, torch.Tensor], batch_sizes: NDArray[np.int64]
    ) -> "PackedInputs":
        """By name.

        Args:
            names: the spec's inputs, in order.
            tensors: of each.
            batch_sizes: of all.

        Raises:
            ValueError: one is missing, or unknown.
        """
        if set(tensors) != set(names):
            raise ValueError(f"inputs: expected {', '.join(names)}, got {', '.join(tensors) or 'nothing'}")
        return cls(tuple(tensors[name] for name in names), batch_sizes)

    @property
    def is_ragged(self) -> bool:
        """Whether rows differ in length."""
        return bool(self.batch_sizes[-1] != self.batch_sizes[0])
