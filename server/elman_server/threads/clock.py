"""The engine's clock."""

import time


class Clock:
    """Monotonic seconds, and what they are in Unix time. Tests bring their own."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds, monotonic."""
        return time.monotonic()

    def wall(self, now: float) -> float:
        """Unix seconds of a moment on this clock."""
        return now + self._offset
