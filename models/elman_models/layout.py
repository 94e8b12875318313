"""Index arithmetic of the packed layout: NumPy only."""

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]


def batch_sizes(lengths: I64) -> I64:
    """[seq_len] rows that have step t, from `lengths` [K], non-increasing and at least 1."""
    steps = np.arange(lengths[0])
    return len(lengths) - np.searchsorted(lengths[::-1], steps, side="right")


def step_offsets(sizes: I64) -> I64:
    """[seq_len] where step t begins in the packed tensor, from its `batch_sizes`."""
    offsets = np.cumsum(sizes)
    offsets -= sizes
    return offsets


def steps_and_rows(sizes: I64) -> tuple[I64, I64]:
    """[sum(batch_sizes)] each: the step and the row of every element of the packed tensor, in its order."""
    steps = np.repeat(np.arange(len(sizes)), sizes)
    rows = np.arange(len(steps)) - step_offsets(sizes)[steps]
    return steps, rows
