"""A histogram of Prometheus's, as read from a page."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Histogram:
    """How many values were at most how large."""

    buckets: Mapping[float, float] = field(default_factory=dict)
    """By upper bound, cumulative."""

    def quantile(self, share: float) -> float:
        """As histogram_quantile has it: linear within a bucket; not a number without values."""
        rank, low, below = share * max(self.buckets.values(), default=0.0), 0.0, 0.0
        for bound, count in sorted(self.buckets.items()):
            if count >= rank and count > below:
                return low if bound == float("inf") else low + (bound - low) * (rank - below) / (count - below)
            low, below = bound, count
        return float("nan")

    def combined(self, other: "Histogram", sign: float) -> "Histogram":
        """This one with the other's counts, times `sign`."""
        bounds = {*self.buckets, *other.buckets}
        return Histogram({b: self.buckets.get(b, 0.0) + sign * other.buckets.get(b, 0.0) for b in bounds})
