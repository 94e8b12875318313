"""Medians over rounds."""

import statistics
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def median(rounds: Iterable[T], value: Callable[[T], float]) -> float:
    """The median of a value of each round."""
    return statistics.median(map(value, rounds))
