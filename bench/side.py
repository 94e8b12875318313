"""What one server gave under a load, whichever client sent it."""

from dataclasses import dataclass

from elman_server.loadgen.outcome import Outcome


@dataclass(frozen=True)
class Side:
    """Of one run. Seconds."""

    steps_per_second: float
    p50: float
    p99: float
    cpu_per_step: float
    """The server's processor time, all threads, per session-step."""

    @classmethod
    def of(cls, outcome: Outcome) -> "Side":
        """What the client in Python saw."""
        return cls(
            outcome.goodput,
            outcome.latency(50),
            outcome.latency(99),
            outcome.server.cpu_seconds / max(outcome.done_steps, 1),
        )
