"""The one mapping from what the server answers to exceptions: for calls, rows and frames alike."""

from __future__ import annotations

from typing import Final

import grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2

from elman._shared import errors
from elman._shared.errors import ElmanError, ErrorDetails

_BY_REASON: Final[dict[str, type[ElmanError]]] = {
    "UNKNOWN_MODEL": errors.UnknownModelError,
    "UNKNOWN_SESSION": errors.UnknownSessionError,
    "UNKNOWN_MARK": errors.UnknownMarkError,
    "SESSION_EXISTS": errors.SessionExistsError,
    "SESSION_EXPIRED": errors.SessionExpiredError,
    "INVALID_INPUT": errors.InvalidInputError,
    "POSITION_AHEAD": errors.PositionError,
    "ANSWER_GONE": errors.PositionError,
    "PREDECESSOR_FAILED": errors.PredecessorFailedError,
    "STALE_HANDLE": errors.StaleHandleError,
    "SUPERSEDED": errors.StaleHandleError,
    "RE_ATTACH": errors.UnavailableError,
    "NO_SESSIONS": errors.UnsupportedError,
    "OTHER_STATE": errors.UnsupportedError,
    "BROKEN_BUNDLE": errors.UnsupportedError,
    "MODEL_CHANGED": errors.UnsupportedError,
    "LIMIT_REACHED": errors.LimitReachedError,
    "DEADLINE_PASSED": errors.DeadlineError,
    "LOADING": errors.UnavailableError,
    "DRAINING": errors.UnavailableError,
    "ENGINE_FAILED": errors.ServerError,
    "CANCELLED": errors.UnavailableError,
}
_BY_CODE: Final[dict[str, type[ElmanError]]] = {
    "CANCELLED": errors.UnavailableError,
    "INVALID_ARGUMENT": errors.InvalidInputError,
    "DEADLINE_EXCEEDED": errors.DeadlineError,
    "NOT_FOUND": errors.NotFoundError,
    "ALREADY_EXISTS": errors.SessionExistsError,
    "PERMISSION_DENIED": errors.AuthenticationError,
    "UNAUTHENTICATED": errors.AuthenticationError,
    "RESOURCE_EXHAUSTED": errors.LimitReachedError,
    "FAILED_PRECONDITION": errors.UnsupportedError,
    "UNIMPLEMENTED": errors.UnsupportedError,
    "OUT_OF_RANGE": errors.PositionError,
    "UNAVAILABLE": errors.UnavailableError,
}
_CLOSED: Final = (
    "It closed the connection before a word was said, as a server does that asks for TLS, or for a certificate of the "
    "caller's: is `tls` given?"
)
_DETAILS_KEY: Final = "grpc-status-details-bin"


def error_of_status(status: status_pb2.Status) -> ElmanError:
    """A row's, id's or frame's `google.rpc.Status` as an exception."""
    code = code_pb2.Code.Name(status.code) if status.code in code_pb2.Code.values() else "UNKNOWN"
    details = _details(code, status)
    kind = _BY_REASON.get(details.reason) or _BY_CODE.get(code) or errors.ServerError
    return kind(status.message or code, details)


def error_of_call(error: grpc.aio.AioRpcError) -> ElmanError:
    """A failed call as an exception, by its rich status where it carries one."""
    code = error.code()
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            return error_of_status(status_pb2.Status.FromString(value))
    details = error.details() or ""
    if details.startswith("failed to connect") and details.endswith("Socket closed"):
        details += f". {_CLOSED}"
    return error_of_status(status_pb2.Status(code=code.value[0], message=details))


def _details(code: str, status: status_pb2.Status) -> ErrorDetails:
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    retry_after = None
    for detail in status.details:
        if detail.type_url.endswith("/google.rpc.ErrorInfo"):
            detail.Unpack(info)
        elif detail.type_url.endswith("/google.rpc.RetryInfo"):
            detail.Unpack(retry)
            retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    return ErrorDetails(code, info.reason, dict(info.metadata), retry_after)
