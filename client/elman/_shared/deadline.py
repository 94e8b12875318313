"""How long something may still take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Self

_LEAST_SECONDS = 0.001


@dataclass(frozen=True)
class Deadline:
    """A moment of the monotonic clock, which coroutines and threads share; None: never."""

    at_seconds: float | None

    @classmethod
    def after(cls, timeout_seconds: float | None) -> Self:
        """So many seconds from now."""
        return cls(None if timeout_seconds is None else time.monotonic() + timeout_seconds)

    @property
    def has_passed(self) -> bool:
        """Whether it is over."""
        return self.at_seconds is not None and time.monotonic() >= self.at_seconds

    def left_seconds(self) -> float | None:
        """What is left, at least a moment, so that the other end says that it is over."""
        if self.at_seconds is None:
            return None
        return max(self.at_seconds - time.monotonic(), _LEAST_SECONDS)

    def allows(self, delay_seconds: float) -> bool:
        """Whether there is time left after a wait."""
        return self.at_seconds is None or time.monotonic() + delay_seconds < self.at_seconds


NEVER = Deadline(None)
