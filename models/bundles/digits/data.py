"""Scikit-learn's handwritten digits, an image being a sequence of its rows. Needs scikit-learn, not torch."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

NUM_HELD_OUT = 360


class Split(NamedTuple):
    """Images and what they show."""

    rows: NDArray[np.float32]  # [N, 8, 8]: image, row, pixel; 0 (white) to 16
    digits: NDArray[np.int64]  # [N]


def split() -> tuple[Split, Split]:
    """Training and held-out images; every digit has the same share of both."""
    images = load_digits()
    rows, digits = images.images.astype(np.float32), images.target.astype(np.int64)
    parts = train_test_split(rows, digits, test_size=NUM_HELD_OUT, random_state=0, stratify=digits)
    return Split(parts[0], parts[2]), Split(parts[1], parts[3])
