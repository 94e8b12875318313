"""Statistics: counts and durations of one model version, as Triton's tools read them."""

from elman_server.door.oip.stubs import grpc_service_pb2 as pb
from elman_server.door.oip.targets import Requests
from elman_server.exchange.served import ModelVersion
from elman_server.telemetry.metrics import Duration


def write_statistics(runtime: ModelVersion, requests: Requests) -> pb.ModelStatistics:
    """What is known of a loaded version."""
    metrics, batches = runtime.metrics, runtime.metrics.batches
    rows = int(metrics.queue_seconds.counts.sum())
    sizes = sorted(batches.by_rows.items())
    return pb.ModelStatistics(
        name=runtime.spec.name,
        version=runtime.spec.version,
        last_inference=int(batches.last * 1e3),
        inference_count=rows,
        execution_count=sum(duration.count for _, duration in sizes),
        inference_stats=pb.InferStatistics(
            success=_duration(requests.success.count, requests.success.seconds),
            fail=_duration(requests.fail.count, requests.fail.seconds),
            queue=_duration(rows, metrics.queue_seconds.total[0]),
            compute_input=_duration(rows, 0),
            compute_infer=_duration(rows, batches.row_seconds),
            compute_output=_duration(rows, 0),
        ),
        batch_stats=[_batches(size, duration) for size, duration in sizes],
    )


def _batches(rows: int, duration: Duration) -> pb.InferBatchStatistics:
    return pb.InferBatchStatistics(
        batch_size=rows,
        compute_input=_duration(duration.count, 0),
        compute_infer=_duration(duration.count, duration.seconds),
        compute_output=_duration(duration.count, 0),
    )


def _duration(count: int, seconds: float) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=count, ns=int(seconds * 1e9))
