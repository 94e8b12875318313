"""All metrics, declared in one place. Base units; labels of few values; never a session id."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge

from elman_server.telemetry.histogram import HistogramFamily, observe, observe_each

# A step's budget is about a millisecond: buckets from a tenth of it to ten seconds, five to a decade.
SECONDS = (*(round(m * 10.0**e, 6) for e in range(-4, 1) for m in (1, 1.5, 2.5, 4, 6)), 10.0)
POWERS_OF_2 = tuple(float(1 << n) for n in range(15))
LONG_SECONDS = (1.0, 10.0, 60.0, 600.0, 3600.0, 6 * 3600.0, 24 * 3600.0, 7 * 24 * 3600.0)

K = TypeVar("K")
V = TypeVar("V")

MODEL = ("model", "version")
METHODS = (
    "ListModels",
    "DescribeModel",
    "LoadModel",
    "UnloadModel",
    "OpenSessions",
    "AttachSessions",
    "CloseSessions",
    "DescribeSession",
    "ListSessions",
    "SetSessionState",
    "ForkSession",
    "MarkSession",
    "RewindSession",
    "DropMarks",
    "ExportSession",
    "ImportSession",
    "MoveSession",
    "Infer",
    "Step",
    "Generate",
    "Score",
    # The Open Inference Protocol's; for ModelStreamInfer a request is one message.
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelConfig",
    "ModelStatistics",
    "ModelInfer",
    "ModelStreamInfer",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
)
CODES = (
    "OK",
    "CANCELLED",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "INTERNAL",
    "UNAVAILABLE",
    "UNIMPLEMENTED",
    "UNKNOWN",
)
REJECTED = (
    "INVALID_INPUT",
    "POSITION_AHEAD",
    "ANSWER_GONE",
    "PREDECESSOR_FAILED",
    "STALE_HANDLE",
    "SESSION_EXPIRED",
    "LIMIT_REACHED",
    "DRAINING",
    "SUPERSEDED",
    "ENGINE_FAILED",
)
ENDED = ("closed", "expired", "evicted", "disconnected", "moved", "drained")


class Series(dict[K, V]):
    """The series of a metric by label, looked up once each: a label lookup is a tenth of a message's cost. One that was
    not thought of at the start begins when it is first counted."""

    def __init__(self, look_up: Callable[[K], V], known: Iterable[K] = ()) -> None:
        """`known`: those that are there from the start, so that a first burst is seen as a rate."""
        super().__init__()
        self._look_up = look_up
        self.begin(known)

    def begin(self, keys: Iterable[K]) -> None:
        """Has those at zero from now on."""
        self.update((key, self._look_up(key)) for key in keys)

    def __missing__(self, key: K) -> V:
        series = self[key] = self._look_up(key)
        return series


class _Make:
    """Metrics of one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry)

    def histograms(self, name: str, text: str, bounds: Sequence[float], *labels: str) -> HistogramFamily:
        return HistogramFamily(name, text, labels or MODEL, bounds, self._registry)


class Metrics:
    """Every metric of a server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        make = _Make(self.registry)
        counter, gauge, histograms = make.counter, make.gauge, make.histograms
        self.requests = counter("elman_requests_total", "Requests answered; for Step, frames", "method", "code")
        text = "From a request's arrival to its last answer; for Step, a frame's"
        self.request_seconds = histograms("elman_request_seconds", text, SECONDS, "method")
        self.session_steps = counter("elman_session_steps_total", "Time steps computed, over all sessions", *MODEL)
        self.padded_steps = counter("elman_padded_steps_total", "Time steps computed that nobody asked for", *MODEL)
        self.launches = counter("elman_launches_total", "Batches run", *MODEL)
        self.plan_launches = counter("elman_plan_launches_total", "Batches run, by plan", *MODEL, "plan")
        self.batch_rows = histograms("elman_batch_rows", "Rows per batch", POWERS_OF_2)
        self.launch_steps = histograms("elman_launch_steps", "Session-steps per batch", POWERS_OF_2)
        self.queue_seconds = histograms("elman_queue_seconds", "From a chunk's admission to its first batch", SECONDS)
        self.compute_seconds = histograms("elman_compute_seconds", "A batch, from gathering to scattering", SECONDS)
        self.queue_rows = gauge("elman_queue_rows", "Chunks that wait or run", *MODEL)
        self.queue_bytes = gauge("elman_queue_bytes", "Bytes of their input", *MODEL)
        self.rejected_rows = counter("elman_rejected_rows_total", "Rows refused", *MODEL, "reason")
        self.expired_rows = counter("elman_expired_rows_total", "Rows whose deadline passed before they ran", *MODEL)
        self.cancelled_rows = counter("elman_cancelled_rows_total", "Rows whose caller went away", *MODEL)
        self.replayed_chunks = counter("elman_replayed_chunks_total", "Chunks answered again without running", *MODEL)
        self.sessions = gauge("elman_sessions", "Open sessions", *MODEL, "tier")
        self.state_bytes = gauge("elman_state_bytes", "Bytes of open sessions' state", *MODEL, "tier")
        self.sessions_opened = counter("elman_sessions_opened_total", "Sessions begun", *MODEL)
        self.sessions_ended = counter("elman_sessions_ended_total", "Sessions ended", *MODEL, "reason")
        self.session_lifetime = histograms("elman_session_lifetime_seconds", "From open to end", LONG_SECONDS)
        self.idle_before_eviction = histograms(
            "elman_session_idle_before_eviction_seconds", "From last use to expiry or eviction", LONG_SECONDS
        )
        gaps = (*SECONDS, *LONG_SECONDS[2:])
        self.reuse_gap = histograms("elman_session_reuse_gap_seconds", "Between a session's chunks", gaps)
        self.model_load_seconds = gauge("elman_model_load_seconds", "Time that loading the model took", *MODEL)
        known = [(m, c) for m in METHODS for c in CODES]
        self._requests = Series(lambda key: self.requests.labels(*key), known)  # by method and code
        self._request_seconds = Series(self.request_seconds.labels, METHODS)

    def request(self, method: str, code: str, seconds: float) -> None:
        """Counts a request that was answered with the gRPC code of that name, `seconds` after its arrival."""
        self._requests[method, code].inc()
        self._request_seconds[method].observe(seconds)

    def requests_of_one_arrival(self, method: str, code: str, seconds: float, count: int) -> None:
        """Counts as many requests that arrived and were answered together."""
        if count:
            self._requests[method, code].inc(count)
            observe(seconds, *self._request_seconds[method].columns, count)

    def broke(self, method: str) -> None:
        """Counts a stream that a bug has ended; what it was asked before is counted already."""
        self._requests[method, "UNKNOWN"].inc()

    def of(self, model: str, version: str) -> "ModelMetrics":
        """The series of one model version, created at zero so that a first burst is seen as a rate."""
        return ModelMetrics(self, (model, version))


class ModelMetrics:
    """One model version's series."""

    def __init__(self, all_metrics: Metrics, labels: tuple[str, str]) -> None:
        m = all_metrics
        self.session_steps = m.session_steps.labels(*labels)
        self.padded_steps = m.padded_steps.labels(*labels)
        self.launches = m.launches.labels(*labels)
        self.batch_rows = m.batch_rows.labels(*labels)
        self.launch_steps = m.launch_steps.labels(*labels)
        self.queue_seconds = m.queue_seconds.labels(*labels)
        self.compute_seconds = m.compute_seconds.labels(*labels)
        self.queue_rows = m.queue_rows.labels(*labels)
        self.queue_bytes = m.queue_bytes.labels(*labels)
        self.expired_rows = m.expired_rows.labels(*labels)
        self.cancelled_rows = m.cancelled_rows.labels(*labels)
        self.replayed_chunks = m.replayed_chunks.labels(*labels)
        self.sessions = m.sessions.labels(*labels, "pool")
        self.state_bytes = m.state_bytes.labels(*labels, "pool")
        self.sessions_opened = m.sessions_opened.labels(*labels)
        self.session_lifetime = m.session_lifetime.labels(*labels)
        self.idle_before_eviction = m.idle_before_eviction.labels(*labels)
        self.reuse_gap = m.reuse_gap.labels(*labels)
        self.model_load_seconds = m.model_load_seconds.labels(*labels)
        self._of_a_batch = tuple([one.columns for one in (self.batch_rows, self.launch_steps, self.compute_seconds)])
        self.batches = BatchSizeStats()
        self._plans: Series[str, Counter] = Series(lambda name: m.plan_launches.labels(*labels, name))
        self._rejected = {reason: m.rejected_rows.labels(*labels, reason) for reason in REJECTED}
        self._ended = Series(lambda reason: m.sessions_ended.labels(*labels, reason), ENDED)

    def ran(self, plan: str, rows: int, steps: int, computed: int, seconds: float) -> None:
        """Counts a batch run by that plan: `steps` were asked for, `computed` were computed."""
        self._plans[plan].inc()
        self.session_steps.inc(steps)
        self.padded_steps.inc(computed - steps)
        self.launches.inc()
        self.batches.ran(rows, seconds)
        observe_each((float(rows), float(steps), seconds), self._of_a_batch)

    def watch(
        self,
        queue_rows: Callable[[], float],
        queue_bytes: Callable[[], float],
        sessions: Callable[[], float],
        state_bytes: Callable[[], float],
    ) -> None:
        """Has the gauges read at each scrape."""
        self.queue_rows.set_function(queue_rows)
        self.queue_bytes.set_function(queue_bytes)
        self.sessions.set_function(sessions)
        self.state_bytes.set_function(state_bytes)

    def reject(self, reason: str, rows: int = 1) -> None:
        """Counts refused rows."""
        if reason in self._rejected:
            self._rejected[reason].inc(rows)

    def end(self, reason: str, sessions: int) -> None:
        """Counts ended sessions: closed, expired, evicted, disconnected or drained."""
        self._ended[reason].inc(sessions)

    def watch_plans(self, names: Iterable[str]) -> None:
        """Creates the series of the plans that may run."""
        self._plans.begin(names)


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
    """How many batches of each size one model version has run, and how long they took: what Triton's statistics ask.

    Written by the engine's thread, read by any."""

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
