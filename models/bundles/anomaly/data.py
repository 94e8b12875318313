"""An hourly load with a daily rhythm, made from a seed, with anomalies planted in it; and what finding them is worth.

Needs NumPy alone.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

HOURS = 1500
"""Of one held-out series."""
EVENTS = 8
"""Anomalies of one held-out series."""
HELD_OUT_SEEDS = range(1000, 1020)
SETTLING = 72
"""The first hours of a series, in which a forecaster finds the rhythm: nothing is planted there and no alarm counts."""
TOGETHER = 24
"""Hours within which alarms are one, as the forecaster still sees what has surprised it."""


class Event(NamedTuple):
    """An anomaly: its first hour and the one after its last."""

    kind: str
    begin: int
    end: int


def normal(seed: int, num_series: int, hours: int) -> Floats:
    """[num_series, hours] without anomalies: two harmonics of a day, from another hour and of another size in each, on
    a level that wanders, with noise."""
    random = np.random.default_rng([seed, 1])
    clock = np.arange(hours) + random.integers(24, size=(num_series, 1))
    size = random.uniform(8, 12, (num_series, 1))
    angle = 2 * np.pi * clock / 24
    rhythm = size * (np.sin(angle) + 0.5 * np.sin(2 * angle + 0.8))
    level = 50 + random.normal(0, 3, (num_series, 1)) + np.cumsum(random.normal(0, 0.15, (num_series, hours)), 1)
    return (level + rhythm + random.normal(0, 1.0, (num_series, hours))).astype(np.float32)


def planted(seed: int) -> tuple[Floats, list[Event]]:
    """A series [HOURS] with EVENTS anomalies in it: spikes, steps, a sensor that stands still, a rhythm turned over."""
    random, series = np.random.default_rng([seed, 2]), normal(seed, 1, HOURS)[0]
    room, events = (HOURS - SETTLING) // EVENTS, []
    mean = series.mean()
    for number in range(EVENTS):
        begin = SETTLING + number * room + int(random.integers(room - 60))
        kind, length = (("spike", 1), ("step", 12), ("still", 12), ("turned over", 18))[int(random.integers(4))]
        part = slice(begin, begin + length)
        if kind in ("spike", "step"):
            series[part] += random.choice([-1, 1]) * random.uniform(6, 14)
        else:
            series[part] = series[begin - 1] if kind == "still" else 2 * mean - series[part]
        events.append(Event(kind, begin, begin + length))
    return series, events


def alarms_of(series: Floats, forecasts: Floats, threshold: float) -> list[Event]:
    """Where the forecasts [T], each of the hour after, are off by more than the threshold."""
    return alarms_from(np.abs(series[1:] - forecasts[:-1]), threshold)


def alarms_from(errors: Floats, threshold: float) -> list[Event]:
    """Where the errors [T - 1] of the forecasts of hours 1 to T - 1 pass the threshold; TOGETHER makes them one."""
    alarms: list[Event] = []
    for hour in np.flatnonzero(errors > threshold) + 1:
        if hour < SETTLING:
            continue
        if alarms and hour - alarms[-1].end < TOGETHER:
            alarms[-1] = alarms[-1]._replace(end=int(hour) + 1)
        else:
            alarms.append(Event("alarm", int(hour), int(hour) + 1))
    return alarms


def overlaps(one: Event, others: list[Event]) -> bool:
    """Whether an event shares an hour with one of the others."""
    return any(one.begin < other.end and other.begin < one.end for other in others)


def precision_and_recall(found: list[tuple[list[Event], list[Event]]]) -> tuple[float, float]:
    """Of (alarms, events) of each series: the share of alarms with an event in them, and of events with an alarm."""
    right = [overlaps(alarm, events) for alarms, events in found for alarm in alarms]
    seen = [overlaps(event, alarms) for alarms, events in found for event in events]
    return sum(right) / max(1, len(right)), sum(seen) / max(1, len(seen))
