"""The kernel: the model alone, in this process, as the server's engine runs it."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from elman_models import Packed, StatePool
from elman_models.bundle import find_bundles, load
from elman_models.plans.cache import PlanCache, cache_key
from elman_models.stack import Stack

WARM_UP = 20
"""Batches before the clock runs."""


@dataclass(frozen=True)
class KernelRun:
    """One measurement, of batches of one step of `rows` sessions."""

    rows: int
    rows_per_second: float
    """Read the states, one step, write them back."""
    cpu_seconds_per_row: float
    """Likewise."""
    step_cpu_seconds_per_row: float
    """The step alone."""


class Kernel:
    """A stack and a pool of states, with torch's threads and the plans as the server has them."""

    def __init__(self, models: Path, max_rows: int) -> None:
        """After the server's start, which measures the plans and leaves them in the cache."""
        torch.set_num_threads(1)
        self.stack = load(find_bundles(models)[0], torch.device("cpu"))
        _take_plans(self.stack)
        self._pool = StatePool(self.stack.spec, max(max_rows, 2), torch.device("cpu"))

    def run(self, rows: int, seconds: float) -> KernelRun:
        """Steps `rows` sessions for so long."""
        slots = np.arange(rows)
        self._pool.reset(slots)
        packed = Packed(torch.randn(rows, self.stack.spec.input_size), np.array([rows]))
        for _ in range(WARM_UP):
            self._step(slots, packed)
        batches, began, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - began < seconds:
            self._step(slots, packed)
            batches += 1
        elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
        return KernelRun(
            rows, batches * rows / elapsed, cpu / (batches * rows), self._step_alone(slots, packed, seconds / 2)
        )

    def step(self, rows: int) -> None:
        """One step of `rows` sessions, their states read and written."""
        self._step(np.arange(rows), Packed(torch.zeros(rows, self.stack.spec.input_size), np.array([rows])))

    def _step(self, slots: "np.ndarray[tuple[int], np.dtype[np.int64]]", packed: Packed) -> None:
        _, state = self.stack.step(packed, self._pool.read(slots))
        self._pool.replace(slots, state)

    def _step_alone(self, slots: "np.ndarray[tuple[int], np.dtype[np.int64]]", packed: Packed, seconds: float) -> float:
        state = self._pool.read(slots)
        batches, began, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - began < seconds:
            self.stack.step(packed, state)
            batches += 1
        return (time.process_time() - cpu) / (batches * len(slots))


def _take_plans(stack: Stack) -> None:
    cache = PlanCache.of_user()
    if cache.read(cache_key(stack.spec, stack.device)):
        stack.warm_up(cache=cache)
