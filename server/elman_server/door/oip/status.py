"""Domain errors as this surface's codes and phrases: its one mapping."""

import grpc

from elman_server import errors as e


class Unsupported(e.ServiceError):
    """A part of the protocol that this server has not."""

    reason = "UNSUPPORTED"


_CODES: dict[type[e.ServiceError], grpc.StatusCode] = {
    e.UnknownModel: grpc.StatusCode.NOT_FOUND,
    e.UnknownSession: grpc.StatusCode.INVALID_ARGUMENT,
    e.SessionExpired: grpc.StatusCode.INVALID_ARGUMENT,
    e.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    e.NoSessions: grpc.StatusCode.INVALID_ARGUMENT,
    e.BrokenBundle: grpc.StatusCode.INVALID_ARGUMENT,
    e.SessionExists: grpc.StatusCode.ALREADY_EXISTS,
    e.PositionAhead: grpc.StatusCode.OUT_OF_RANGE,
    e.AnswerGone: grpc.StatusCode.ABORTED,
    e.PredecessorFailed: grpc.StatusCode.ABORTED,
    e.StaleHandle: grpc.StatusCode.ABORTED,
    e.Superseded: grpc.StatusCode.ABORTED,
    e.ReAttach: grpc.StatusCode.ABORTED,
    e.ModelChanged: grpc.StatusCode.FAILED_PRECONDITION,
    e.LimitReached: grpc.StatusCode.UNAVAILABLE,
    e.DeadlinePassed: grpc.StatusCode.UNAVAILABLE,
    e.Loading: grpc.StatusCode.UNAVAILABLE,
    e.Draining: grpc.StatusCode.UNAVAILABLE,
    e.Cancelled: grpc.StatusCode.CANCELLED,
    e.EngineFailed: grpc.StatusCode.INTERNAL,
    Unsupported: grpc.StatusCode.UNIMPLEMENTED,
}

_QUEUES = ("max_queue_rows", "max_queue_bytes", "max_caller_rows", "max_caller_bytes", "max_infer_rows")


def code_of(error: e.ServiceError) -> grpc.StatusCode:
    """The gRPC code of a domain error."""
    if isinstance(error, e.LimitReached) and error.retry_seconds is None:
        return grpc.StatusCode.INVALID_ARGUMENT  # no retry helps: the request itself is too large
    return _CODES[type(error)]


def message_of(error: e.ServiceError) -> str:
    """The error in the words that Triton's users know, and what there is to say beyond them."""
    if isinstance(error, e.UnknownModel):
        return f"Request for unknown model: {error.message.removeprefix('unknown model ')}"
    if isinstance(error, e.DeadlinePassed):
        return f"Request timeout expired: {error.message}"
    if isinstance(error, e.LimitReached) and error.metadata.get("limit") in _QUEUES:
        return f"Exceeds maximum queue size: {error.message}"
    return error.message
