"""The packed layout: ragged sequences as one tensor, without padding (torch's PackedSequence.data)."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from elman_models.layout import batch_sizes

__all__ = ["Packed", "batch_sizes"]


class Packed(NamedTuple):
    """Step 0 of all rows, then step 1 of the rows that have one, and so on; rows by length, longest first."""

    data: torch.Tensor  # [sum(batch_sizes), *features], device
    batch_sizes: NDArray[np.int64]  # [seq_len], rows that have step t, non-increasing

    @property
    def seq_len(self) -> int:
        """Steps of the longest row."""
        return len(self.batch_sizes)

    @property
    def num_rows(self) -> int:
        """Rows: those that have step 0."""
        return int(self.batch_sizes[0])

    @property
    def is_ragged(self) -> bool:
        """Whether rows differ in length."""
        return bool(self.batch_sizes[-1] != self.batch_sizes[0])
