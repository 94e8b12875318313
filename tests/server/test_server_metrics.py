"""Metrics: there from the start, and the batch histogram the same as prometheus_client's own."""

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from elman.v1 import inference_pb2, models_pb2, sessions_pb2
from elman_server.door.oip.stubs import grpc_service_pb2
from elman_server.telemetry.metrics import LONG_SECONDS, METHODS, POWERS_OF_2, SECONDS, HistogramFamily, Metrics

NAMES = (
    "elman_requests_total",
    "elman_request_seconds",
    "elman_session_steps_total",
    "elman_padded_steps_total",
    "elman_launches_total",
    "elman_batch_rows",
    "elman_launch_steps",
    "elman_queue_seconds",
    "elman_compute_seconds",
    "elman_queue_rows",
    "elman_queue_bytes",
    "elman_rejected_rows_total",
    "elman_expired_rows_total",
    "elman_cancelled_rows_total",
    "elman_replayed_chunks_total",
    "elman_sessions",
    "elman_state_bytes",
    "elman_sessions_opened_total",
    "elman_sessions_ended_total",
    "elman_session_lifetime_seconds",
    "elman_session_idle_before_eviction_seconds",
    "elman_session_reuse_gap_seconds",
    "elman_model_load_seconds",
)


def test_every_series_is_there_at_zero_from_the_start() -> None:
    metrics = Metrics()
    metrics.of("m", "1")
    directories = {directory.name: directory for directory in metrics.registry.collect()}
    for name in NAMES:
        samples = directories[name.removesuffix("_total")].samples
        assert samples, name
        assert all(s.value == 0 for s in samples if not s.name.endswith("_created")), name
    reasons = {s.labels["reason"] for s in directories["elman_sessions_ended"].samples}
    assert reasons == {"closed", "disconnected", "expired", "evicted", "drained", "moved"}
    assert "elman_plan_launches" in directories


def test_every_method_of_the_contract_has_its_series_from_the_start() -> None:
    files = (models_pb2, sessions_pb2, inference_pb2)
    ours = [s for file in files for s in file.DESCRIPTOR.services_by_name.values()]
    methods = {method.name for service in ours for method in service.methods}
    others = {m.name for m in grpc_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods}
    assert methods == set(METHODS) - others


@pytest.mark.parametrize("code", [code.name for code in grpc.StatusCode])
def test_any_method_and_any_code_of_grpc_is_counted(code: str) -> None:
    metrics = Metrics()
    for method in ("Step", "Generate"):
        metrics.request(method, code, 0.5)
        metrics.broke(method)
        value = metrics.registry.get_sample_value("elman_requests_total", {"method": method, "code": code})
        assert value == 1 + (code == "UNKNOWN")
        assert metrics.registry.get_sample_value("elman_request_seconds_count", {"method": method}) == 1
    model = metrics.of("m", "1")
    model.end("revoked", 2)
    model.ran("new", rows=1, steps=1, computed=1, seconds=0.1)
    labels = {"model": "m", "version": "1"}
    assert metrics.registry.get_sample_value("elman_sessions_ended_total", labels | {"reason": "revoked"}) == 2
    assert metrics.registry.get_sample_value("elman_plan_launches_total", labels | {"plan": "new"}) == 1


@given(
    st.sampled_from([SECONDS, POWERS_OF_2, LONG_SECONDS]),
    st.lists(st.lists(st.one_of(st.floats(0, 1e6), st.sampled_from(SECONDS + POWERS_OF_2)))),
)
def test_a_tally_is_a_histogram(bounds: tuple[float, ...], batches: list[list[float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tally = HistogramFamily("x", "text", ("a",), bounds, ours).labels("1")
    histogram = Histogram("x", "text", ("a",), buckets=bounds, registry=theirs).labels("1")
    for batch in batches:
        tally.observe_all(np.array(batch, np.float64))
        for value in batch:
            histogram.observe(value)
    assert lines(ours) == lines(theirs)


def lines(registry: CollectorRegistry) -> list[tuple[str, float]]:
    text = generate_latest(registry).decode().splitlines()
    samples = [line.rsplit(" ", 1) for line in text if line[0] != "#" and "_created" not in line]
    return [(name, float(f"{float(value):.9g}")) for name, value in samples]
