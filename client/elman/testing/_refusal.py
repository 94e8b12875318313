"""What the fake server refuses, and how: statuses as the contract has them."""

from __future__ import annotations

from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

_CODES = {
    "UNKNOWN_MODEL": code_pb2.NOT_FOUND,
    "UNKNOWN_SESSION": code_pb2.NOT_FOUND,
    "UNKNOWN_MARK": code_pb2.NOT_FOUND,
    "SESSION_EXISTS": code_pb2.ALREADY_EXISTS,
    "SESSION_EXPIRED": code_pb2.NOT_FOUND,
    "INVALID_INPUT": code_pb2.INVALID_ARGUMENT,
    "POSITION_AHEAD": code_pb2.OUT_OF_RANGE,
    "ANSWER_GONE": code_pb2.ABORTED,
    "PREDECESSOR_FAILED": code_pb2.ABORTED,
    "STALE_HANDLE": code_pb2.ABORTED,
    "SUPERSEDED": code_pb2.ABORTED,
    "RE_ATTACH": code_pb2.ABORTED,
    "NO_SESSIONS": code_pb2.FAILED_PRECONDITION,
    "CANNOT_GENERATE": code_pb2.FAILED_PRECONDITION,
    "OTHER_STATE": code_pb2.FAILED_PRECONDITION,
    "BROKEN_BUNDLE": code_pb2.FAILED_PRECONDITION,
    "MODEL_CHANGED": code_pb2.FAILED_PRECONDITION,
    "LIMIT_REACHED": code_pb2.RESOURCE_EXHAUSTED,
    "DEADLINE_PASSED": code_pb2.DEADLINE_EXCEEDED,
    "LOADING": code_pb2.UNAVAILABLE,
    "DRAINING": code_pb2.UNAVAILABLE,
    "ENGINE_FAILED": code_pb2.INTERNAL,
    "CANCELLED": code_pb2.CANCELLED,
}


class NotFaked(Exception):
    """The server does it, and the fake does not."""


class Refusal(Exception):
    """A domain error of the fake server."""

    def __init__(
        self, reason: str, message: str = "", retry_after_seconds: float | None = None, **metadata: object
    ) -> None:
        super().__init__(message or reason)
        details = [_packed(error_details_pb2.ErrorInfo(reason=reason, domain="elman", metadata=_words(metadata)))]
        if retry_after_seconds is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromNanoseconds(int(retry_after_seconds * 1e9))
            details.append(_packed(retry))
        self.status = status_pb2.Status(code=_CODES[reason], message=message or reason, details=details)


def _words(metadata: dict[str, object]) -> dict[str, str]:
    return {key: str(value) for key, value in metadata.items()}


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> any_pb2.Any:
    detail = any_pb2.Any()
    detail.Pack(message)
    return detail
