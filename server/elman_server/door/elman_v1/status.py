"""Domain errors as gRPC statuses: the one mapping of the elman.v1 surface."""

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from elman_server import errors as e

DOMAIN = "elman"
"""`google.rpc.ErrorInfo.domain` of every error."""

_CODES: dict[type[e.ServiceError], grpc.StatusCode] = {
    e.UnknownModel: grpc.StatusCode.NOT_FOUND,
    e.UnknownSession: grpc.StatusCode.NOT_FOUND,
    e.UnknownMark: grpc.StatusCode.NOT_FOUND,
    e.SessionExists: grpc.StatusCode.ALREADY_EXISTS,
    e.SessionExpired: grpc.StatusCode.NOT_FOUND,
    e.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    e.PositionAhead: grpc.StatusCode.OUT_OF_RANGE,
    e.AnswerGone: grpc.StatusCode.ABORTED,
    e.PredecessorFailed: grpc.StatusCode.ABORTED,
    e.StaleHandle: grpc.StatusCode.ABORTED,
    e.Superseded: grpc.StatusCode.ABORTED,
    e.ReAttach: grpc.StatusCode.ABORTED,
    e.CannotGenerate: grpc.StatusCode.FAILED_PRECONDITION,
    e.NoSessions: grpc.StatusCode.FAILED_PRECONDITION,
    e.OtherState: grpc.StatusCode.FAILED_PRECONDITION,
    e.BrokenBundle: grpc.StatusCode.FAILED_PRECONDITION,
    e.ModelChanged: grpc.StatusCode.FAILED_PRECONDITION,
    e.LimitReached: grpc.StatusCode.RESOURCE_EXHAUSTED,
    e.DeadlinePassed: grpc.StatusCode.DEADLINE_EXCEEDED,
    e.Cancelled: grpc.StatusCode.CANCELLED,
    e.Loading: grpc.StatusCode.UNAVAILABLE,
    e.Draining: grpc.StatusCode.UNAVAILABLE,
    e.EngineFailed: grpc.StatusCode.INTERNAL,
}


def code_of(error: e.ServiceError) -> grpc.StatusCode:
    """The gRPC code of a domain error."""
    return _CODES[type(error)]


def to_status(error: e.ServiceError) -> status_pb2.Status:
    """The error with its `ErrorInfo` and, where a retry helps, `RetryInfo`."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    details = [_pack(info)]
    if error.retry_seconds is not None:
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_seconds * 1e9))
        details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status_pb2.Status(code=code_of(error).value[0], message=error.message, details=details)


def trailing_metadata(status: status_pb2.Status) -> tuple[tuple[str, bytes], ...]:
    """How a rich status travels beside the bare one (gRPC's "grpc-status-details-bin")."""
    return (("grpc-status-details-bin", status.SerializeToString()),)


def _pack(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
