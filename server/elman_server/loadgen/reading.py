"""A reading of a server's own counters: from its metrics page, and of its processor time where it runs here."""

import os
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from elman_server.loadgen.histogram import Histogram

COUNTERS = {
    "elman_session_steps_total": "steps",
    "elman_padded_steps_total": "padded_steps",
    "elman_launches_total": "launches",
    "elman_batch_rows_sum": "rows",
    "elman_compute_seconds_sum": "compute_seconds",
}
COMPUTE = "elman_compute_seconds_bucket"
REQUEST = "elman_request_seconds_bucket"

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Reading:
    """Counters; the difference of two readings is what happened between them."""

    cpu_seconds: float = 0.0
    """Of the process, all threads, user and system."""
    steps: float = 0.0
    padded_steps: float = 0.0
    launches: float = 0.0
    rows: float = 0.0
    compute_seconds: float = 0.0
    compute: Histogram = field(default_factory=Histogram)
    """Seconds of a batch."""
    frames: Histogram = field(default_factory=Histogram)
    """Seconds from a frame's arrival at the server to its last answer."""

    @property
    def rows_per_batch(self) -> float:
        """Mean rows of a batch; 0 without any."""
        return self.rows / self.launches if self.launches else 0.0

    @property
    def compute_p50(self) -> float:
        """Median seconds of a batch."""
        return self.compute.quantile(0.5)

    def __sub__(self, other: "Reading") -> "Reading":
        return self._combined(other, -1.0)

    def __add__(self, other: "Reading") -> "Reading":
        return self._combined(other, 1.0)

    def _combined(self, other: "Reading", sign: float) -> "Reading":
        return Reading(
            cpu_seconds=self.cpu_seconds + sign * other.cpu_seconds,
            steps=self.steps + sign * other.steps,
            padded_steps=self.padded_steps + sign * other.padded_steps,
            launches=self.launches + sign * other.launches,
            rows=self.rows + sign * other.rows,
            compute_seconds=self.compute_seconds + sign * other.compute_seconds,
            compute=self.compute.combined(other.compute, sign),
            frames=self.frames.combined(other.frames, sign),
        )


@dataclass(frozen=True)
class Probe:
    """Where readings come from; what is not known reads as 0."""

    metrics_url: str | None = None
    pid: int | None = None
    """Of a server on this machine."""

    def __call__(self) -> Reading:
        """A reading now."""
        return self.look().reading()

    def look(self) -> "Look":
        """What a reading is made of, later: parsing would hold up a client that is sending."""
        cpu_seconds = cpu_seconds_of(self.pid) if self.pid else 0.0
        if not self.metrics_url:
            return Look("", cpu_seconds)
        with urllib.request.urlopen(self.metrics_url, timeout=10) as page:
            return Look(page.read().decode(), cpu_seconds)


@dataclass(frozen=True)
class Look:
    """A metrics page, and the processor time when it was read."""

    page: str
    cpu_seconds: float

    def reading(self) -> Reading:
        """What they say."""
        return parse(self.page, self.cpu_seconds)


def cpu_seconds_of(pid: int) -> float:
    """Processor time of a process so far, all threads, user and system."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / TICKS_PER_SECOND


def parse(page: str, cpu_seconds: float = 0.0) -> Reading:
    """A metrics page, over all models."""
    totals: dict[str, float] = {}
    compute: dict[float, float] = {}
    frames: dict[float, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name in COUNTERS:
                name = COUNTERS[sample.name]
                totals[name] = totals.get(name, 0.0) + sample.value
            elif sample.name == COMPUTE:
                bound = float(sample.labels["le"])
                compute[bound] = compute.get(bound, 0.0) + sample.value
            elif sample.name == REQUEST and sample.labels["method"] == "Step":
                frames[float(sample.labels["le"])] = sample.value
    return Reading(cpu_seconds, **totals, compute=Histogram(compute), frames=Histogram(frames))
