"""Monthly means of daily sunspot numbers, 1749 to 2008, as statsmodels brings them. Needs statsmodels, not torch."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from statsmodels.datasets import sunspots

Floats = NDArray[np.float32]

FIRST_YEAR = 1749
HELD_OUT_YEAR = 1950
"""The first that is held out."""
AHEAD = 24
"""Months of a free-running forecast."""


def monthly() -> Floats:
    """[3120] all months. The file is text for people: of its lines those count that are a year and its months."""
    file = Path(sunspots.__file__).parent / "src" / "sunspots_monthly.dat"
    lines = [line.split() for line in file.read_text().splitlines() if line[:4].isdigit()]
    return np.array([month for line in lines if len(line) == 13 for month in line[1:]], np.float32)


def month_of(year: int) -> int:
    """The index of a year's January."""
    return 12 * (year - FIRST_YEAR)


def rmse(forecast: Floats, truth: Floats) -> float:
    """The root of the mean squared error."""
    return float(np.sqrt(np.mean((forecast.astype(np.float64) - truth) ** 2)))
