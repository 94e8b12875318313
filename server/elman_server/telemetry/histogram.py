"""Histograms that take a whole batch's values in one call, which prometheus_client's own do not."""

from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from elman_server.tables.jit import jit

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Columns = tuple[F64, I64, F64]


class Histogram:
    """One labelled series of a `HistogramFamily`."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = np.array(bounds, np.float64)
        self.counts = np.zeros(len(bounds) + 1, np.int64)
        self.total = np.zeros(1, np.float64)
        self.columns: Columns = (self.bounds, self.counts, self.total)
        """As compiled loops take it."""

    def observe(self, value: float) -> None:
        """Counts one value."""
        observe(float(value), *self.columns, 1)

    def observe_all(self, values: F64) -> None:
        """Counts many values."""
        _observe_all(values, *self.columns)


class HistogramFamily(Collector):
    """A histogram with labels."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._family = (name, documentation)
        self._labels = labels
        self._bounds = bounds
        self._series: dict[tuple[str, ...], Histogram] = {}
        registry.register(self)

    def labels(self, *values: str) -> Histogram:
        """The series of these label values."""
        return self._series.setdefault(values, Histogram(self._bounds))

    def total(self) -> float:
        """The sum of all values of all series."""
        return float(sum(series.total[0] for series in list(self._series.values())))

    def remove(self, *values: str) -> None:
        """Forgets a series."""
        self._series.pop(values, None)

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """For the registry."""
        family = HistogramMetricFamily(*self._family, labels=self._labels)
        for values, series in list(self._series.items()):
            bounds = [*map(str, self._bounds), "+Inf"]
            buckets = list(zip(bounds, accumulate(series.counts.tolist()), strict=True))
            family.add_metric(values, buckets, sum_value=float(series.total[0]))
        yield family


@jit
def observe(value: float, bounds: F64, counts: I64, total: F64, times: int = 1) -> None:
    """Counts one value, so many times, in the first bucket whose bound is not below it."""
    bucket = 0
    while bucket < len(bounds) and bounds[bucket] < value:
        bucket += 1
    counts[bucket] += times
    total[0] += value * times


@jit
def observe_each(values: tuple[float, ...], histograms: tuple[Columns, ...]) -> None:
    """Counts a value in each histogram, in one call."""
    for i in range(len(values)):
        bounds, counts, total = histograms[i]
        observe(values[i], bounds, counts, total, 1)


@jit
def _observe_all(values: F64, bounds: F64, counts: I64, total: F64) -> None:
    for value in values:
        observe(value, bounds, counts, total)
