"""What is counted of a load while its window is open."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from elman_server.loadgen.outcome import Outcome
from elman_server.loadgen.reading import Reading

now: Callable[[], float] = time.perf_counter


@dataclass(slots=True)
class SentFrame:
    """A frame under way."""

    due: float
    """When it was to be sent, in seconds of `now`."""
    rows_left: int
    first: float = math.nan
    """When its first output came."""


@dataclass(slots=True)
class WindowCounts:
    """Counts while it is open; what happens before and after is not counted."""

    is_open: bool = False
    is_over: bool = False
    """Nothing more is to be sent."""
    all_steps: int = 0
    offered_steps: int = 0
    done_steps: int = 0
    results: int = 0
    refused: int = 0
    unsent: int = 0
    latencies: list[float] = field(default_factory=list)
    first_latencies: list[float] = field(default_factory=list)

    def offered(self, steps: int) -> None:
        """A frame was due."""
        self.all_steps += steps
        if self.is_open:
            self.offered_steps += steps

    def dropped(self) -> None:
        """A frame was due and not sent."""
        if self.is_open:
            self.unsent += 1

    def came(self, steps: int) -> None:
        """A result."""
        if self.is_open:
            self.results += 1
            self.done_steps += steps

    def ended(self, sent: SentFrame, was_refused: bool, at: float) -> None:
        """A frame's last result."""
        if not self.is_open:
            return
        if was_refused:
            self.refused += 1
        else:
            self.latencies.append(at - sent.due)
            self.first_latencies.append(sent.first - sent.due)

    def outcome(self, seconds: float, server: Reading, client_cpu_seconds: float) -> Outcome:
        """The counts, as of a window of that length."""
        return Outcome(
            seconds=seconds,
            all_steps=self.all_steps,
            offered_steps=self.offered_steps,
            done_steps=self.done_steps,
            done_frames=len(self.latencies),
            refused_frames=self.refused,
            unsent_frames=self.unsent,
            latencies=np.array(self.latencies),
            first_latencies=np.array(self.first_latencies),
            results=self.results,
            server=server,
            client_cpu_seconds=client_cpu_seconds,
        )
