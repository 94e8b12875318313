"""Effort: how long and how large a benchmark runs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """One scale for all benchmarks; ratios are medians over the rounds, whose sides take turns."""

    rounds: int
    seconds: float
    """Of one side of one round."""
    warm_up_seconds: float
    sessions: int
    """Where a bar speaks of 256."""
    idle_sessions: int
    """Where a bar speaks of a million."""
    long_chunk: int
    """Where a bar speaks of 10,000 steps."""
    hidden_size: int = 256
    input_size: int = 64
    hidden_sizes: tuple[int, ...] = (64, 128, 192, 256)
    """Where a bar holds for each of several models."""
    sweep: tuple[int, ...] = (1, 4, 16, 64, 256)
    """Numbers of sessions for the curves."""
    multiples: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
    """Offered load over capacity."""


TINY = Effort(
    1, 0.3, 0.1, 8, 1000, 200, hidden_size=16, input_size=8, hidden_sizes=(16,), sweep=(1, 8), multiples=(0.5, 2.0)
)
SHORT = Effort(5, 1.5, 0.4, 256, 1_000_000, 10_000)
FULL = Effort(9, 5.0, 1.0, 256, 1_000_000, 10_000, sweep=(1, 4, 16, 64, 256, 1024))
