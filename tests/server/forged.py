"""Handles that a caller could make of one of its own."""

import numpy as np
from numpy.typing import NDArray


def flipped(handle: int | np.uint64) -> NDArray[np.uint64]:
    """[64 + 2016] the handle with each of its bits, and each two of them, flipped."""
    bits = np.uint64(1) << np.arange(64, dtype=np.uint64)
    flips = np.concatenate([bits, (bits[:, None] ^ bits)[np.triu_indices(64, 1)]])
    changed: NDArray[np.uint64] = np.uint64(handle) ^ flips
    return changed
