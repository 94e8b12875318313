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

    def last_steps(self, output: torch.Tensor) -> torch.Tensor:
        """[num_rows, ...] the last step of each row of `output` [sum(batch_sizes), ...], which is packed likewise."""
        # The rows that end with a step stand together, those that end with the last step first: so no index has to go
        # to the device.
        sizes = self.batch_sizes.tolist()
        ends, at = [], len(output)
        for size, longer in zip(reversed(sizes), [0, *reversed(sizes[1:])], strict=True):
            if size > longer:
                ends.append(output[at - size + longer : at])
            at -= size
        return ends[0] if len(ends) == 1 else torch.cat(ends)
