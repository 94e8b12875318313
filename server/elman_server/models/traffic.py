"""Traffic: whether the engine was busy while something was measured beside it."""

from collections.abc import Callable

from elman_server.telemetry.metrics import Metrics

QUIET_SHARE = 0.02
"""Of the time: up to which batches are too few to change what is measured beside them."""


class Traffic:
    """Of one server, by the durations of the batches that its engine has run. From any thread."""

    def __init__(self, metrics: Metrics) -> None:
        self._compute_seconds = metrics.compute_seconds
        self.is_served = False
        """Whether the start is over, so that there may be any."""

    def busy_seconds(self) -> float:
        """How long all batches have taken so far."""
        return self._compute_seconds.total()

    def since(self, now: Callable[[], float]) -> Callable[[], bool]:
        """Asks whether it has been quiet from now on. `now`: monotonic seconds."""
        began, busy = now(), self.busy_seconds()
        return lambda: is_quiet(self.busy_seconds() - busy, now() - began)


def is_quiet(busy_seconds: float, seconds: float) -> bool:
    """Whether a time of which batches took so much was quiet."""
    return busy_seconds <= QUIET_SHARE * seconds
