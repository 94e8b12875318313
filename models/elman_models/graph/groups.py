"""Rows of equal length together: how whole graphs run ragged batches without padding."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from elman_models.layout import step_offsets

Sizes = NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """Some rows of a packed batch, which are equally long."""

    rows: slice
    index: torch.Tensor  # [T x B] int64: where their elements stand in the batch's packed tensor
    batch_sizes: Sizes  # [T], all B


def groups(sizes: Sizes) -> Iterator[Group]:
    """The rows by length, the longest first, from the `batch_sizes` of all."""
    offsets = step_offsets(sizes)
    begin = 0
    for steps in np.flatnonzero(np.diff(sizes, append=0))[::-1].tolist():
        end = int(sizes[steps])
        index = offsets[: steps + 1, None] + np.arange(begin, end)
        yield Group(slice(begin, end), torch.from_numpy(index.ravel()), np.full(steps + 1, end - begin))
        begin = end
