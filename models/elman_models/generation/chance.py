"""Chance that can be asked for again: numbers that follow from a seed and a count alone, whatever was drawn before."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]

_GAMMA, _FIRST, _SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def uniform(seeds: Any, counts: Any, draw: Any = 0) -> F64:
    """Numbers in [0, 1) for steps `counts`, below 2^32, of what was begun with `seeds`, below 2^64; `draw`, below 2^32:
    which of the numbers of a step. The three are broadcast against each other.

    SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014) from the seed mixed
    once, as far on as 2^32 times the count and the draw say; its upper 53 bits.
    """
    with np.errstate(over="ignore"):
        at = (np.asarray(counts, np.uint64) << np.uint64(32)) + np.asarray(draw, np.uint64)
        # Not the sum of both mixed: a seed and a draw that change places would give the same number.
        bits = _mixed(_mixed(np.asarray(seeds, np.uint64)) + at * _GAMMA)
    numbers: F64 = (bits >> np.uint64(11)) * np.float64(2.0**-53)
    return numbers


def normal(seeds: Any, counts: Any, draw: Any = 0) -> F64:
    """As `uniform`, numbers of the standard normal distribution, by Box and Muller; each takes draws 2 * `draw` and the
    one after it."""
    draw = 2 * np.asarray(draw)
    radius = np.sqrt(-2 * np.log1p(-uniform(seeds, counts, draw)))
    turned: F64 = radius * np.cos(2 * np.pi * uniform(seeds, counts, draw + 1))
    return turned


def _mixed(value: U64) -> U64:
    value = value + _GAMMA
    value = (value ^ (value >> np.uint64(30))) * _FIRST
    value = (value ^ (value >> np.uint64(27))) * _SECOND
    return value ^ (value >> np.uint64(31))
