"""How many batches of each size were run, and how long they took: what Triton's statistics ask of a model."""

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Duration:
    """How often, and how long altogether."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float, times: int = 1) -> None:
        """Once more, or some times, as long each."""
        self.count += times
        self.seconds += times * seconds


@dataclass(slots=True)
class BatchSizeStats:
    """One model version's batches. Written by the engine's thread, read by any."""

    by_rows: dict[int, Duration] = field(default_factory=dict)
    row_seconds: float = 0.0
    """Sum over rows of their batches' durations."""
    last: float = 0.0
    """Unix seconds of the last batch; 0: none yet."""

    def ran(self, rows: int, seconds: float) -> None:
        """Counts a batch."""
        of_size = self.by_rows.setdefault(rows, Duration())
        of_size.count += 1
        of_size.seconds += seconds
        self.row_seconds += rows * seconds
        self.last = time.time()
