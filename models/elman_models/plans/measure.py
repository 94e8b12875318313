"""Timing plans against each other: interleaved, so that a machine that slows down slows all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from statistics import median
from time import perf_counter, thread_time

import torch

Run = Callable[[], object]
Now = Callable[[], float]
"""Seconds since some moment, once what was begun is done."""


def stopwatch(device: torch.device) -> Now:
    """The clock for plans on `device`: with one thread that of the thread, which other processes do not move."""
    if device.type == "cuda":
        return partial(_cuda_now, device)
    return thread_time if torch.get_num_threads() == 1 else perf_counter


@dataclass(frozen=True)
class Effort:
    """How long to measure one shape."""

    max_rounds: int = 7
    min_rounds: int = 3
    max_seconds: float = 0.1
    """After which no further round begins, beyond `min_rounds`."""
    sample_seconds: float = 5e-4
    """A run shorter than this is repeated within a round."""
    give_up_factor: float = 1.8
    """A run that takes this many times the fastest one's time is not measured further."""


def interleaved(runs: Mapping[str, Run], now: Now, effort: Effort) -> dict[str, float]:
    """Seconds of one run, by name: the median of the rounds; runs that lose at once have their first time.

    The least would say most if what else runs on a machine slowed all alike. But some vary more than others, and were
    chosen for moments that callers seldom see.
    """
    first = {name: _first(run, now) for name, run in runs.items()}
    limit = effort.give_up_factor * min(first.values())
    kept = {name: run for name, run in runs.items() if first[name] <= limit}
    repeats = max(1, round(effort.sample_seconds / min(first.values())))
    samples: dict[str, list[float]] = {name: [] for name in kept}
    began = perf_counter()
    for index in range(effort.max_rounds):
        if index >= effort.min_rounds and perf_counter() - began > effort.max_seconds:
            break
        # In another order each time: who comes before leaves the caches as it likes.
        for name in Random(index).sample(list(kept), len(kept)):
            samples[name].append(_time(kept[name], now, repeats))
    return first | {name: median(times) for name, times in samples.items()}


def _first(run: Run, now: Now) -> float:
    run()  # kernels are chosen, memory is allocated
    return min(_time(run, now, 1), _time(run, now, 1))  # memory may come only by and by


def _time(run: Run, now: Now, repeats: int) -> float:
    began = now()
    for _ in range(repeats):
        run()
    return (now() - began) / repeats


def _cuda_now(device: torch.device) -> float:
    torch.cuda.synchronize(device)
    return perf_counter()
