"""What came of a load: counts, latencies, and what the server says of itself."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from elman_server.loadgen.reading import Reading

Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """One run of a load, counted from the end of its warm-up to its own end."""

    seconds: float
    all_steps: int
    """Session-steps that the load wanted to send, before and after too."""
    offered_steps: int
    """Session-steps that the load wanted to send."""
    done_steps: int
    """Session-steps whose outputs came back."""
    done_frames: int
    refused_frames: int
    """Answered with an error, as frames or as rows."""
    unsent_frames: int
    """Open loop: dropped by the client, since the connection took no more."""
    latencies: Seconds
    """[frames] from when a frame was due to its last output."""
    first_latencies: Seconds
    """[frames] from when a frame was due to its first output."""
    results: int
    """Messages that came back."""
    server: Reading = field(default_factory=Reading)
    """What the server did meanwhile."""
    client_cpu_seconds: float = 0.0

    @property
    def offered(self) -> float:
        """Session-steps a second."""
        return self.offered_steps / self.seconds

    @property
    def goodput(self) -> float:
        """Session-steps a second."""
        return self.done_steps / self.seconds

    def latency(self, percent: float) -> float:
        """A percentile of the latencies, in seconds; not a number without any."""
        return float(self.latencies_at(np.array([percent]))[0])

    def latencies_at(self, percents: Seconds) -> Seconds:
        """[n] the percentiles of the latencies, in seconds; not numbers without any."""
        return np.percentile(self.latencies, percents) if len(self.latencies) else np.full(len(percents), np.nan)

    def first_latency(self, percent: float) -> float:
        """As `latency`, to the first output."""
        return float(np.percentile(self.first_latencies, percent)) if len(self.first_latencies) else float("nan")


def join(outcomes: list[Outcome]) -> Outcome:
    """Runs of one load, of several seeds, as one."""
    server = Reading()
    for one in outcomes:
        server = server + one.server
    return Outcome(
        seconds=sum(o.seconds for o in outcomes),
        all_steps=sum(o.all_steps for o in outcomes),
        offered_steps=sum(o.offered_steps for o in outcomes),
        done_steps=sum(o.done_steps for o in outcomes),
        done_frames=sum(o.done_frames for o in outcomes),
        refused_frames=sum(o.refused_frames for o in outcomes),
        unsent_frames=sum(o.unsent_frames for o in outcomes),
        latencies=np.concatenate([o.latencies for o in outcomes]),
        first_latencies=np.concatenate([o.first_latencies for o in outcomes]),
        results=sum(o.results for o in outcomes),
        server=server,
        client_cpu_seconds=sum(o.client_cpu_seconds for o in outcomes),
    )
