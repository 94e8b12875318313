"""One mapping from codes and reasons to exceptions."""

import re
from pathlib import Path

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

import elman
from elman._shared import status as mapping
from elman._shared.retry import is_cut, is_refused_for_now

TABLE = [
    ("UNKNOWN_MODEL", "NOT_FOUND", elman.UnknownModelError),
    ("UNKNOWN_SESSION", "NOT_FOUND", elman.UnknownSessionError),
    ("UNKNOWN_MARK", "NOT_FOUND", elman.UnknownMarkError),
    ("SESSION_EXISTS", "ALREADY_EXISTS", elman.SessionExistsError),
    ("SESSION_EXPIRED", "NOT_FOUND", elman.SessionExpiredError),
    ("INVALID_INPUT", "INVALID_ARGUMENT", elman.InvalidInputError),
    ("POSITION_AHEAD", "OUT_OF_RANGE", elman.PositionError),
    ("ANSWER_GONE", "ABORTED", elman.PositionError),
    ("PREDECESSOR_FAILED", "ABORTED", elman.PredecessorFailedError),
    ("STALE_HANDLE", "ABORTED", elman.StaleHandleError),
    ("SUPERSEDED", "ABORTED", elman.StaleHandleError),
    ("RE_ATTACH", "ABORTED", elman.UnavailableError),
    ("NO_SESSIONS", "FAILED_PRECONDITION", elman.UnsupportedError),
    ("CANNOT_GENERATE", "FAILED_PRECONDITION", elman.UnsupportedError),
    ("OTHER_STATE", "FAILED_PRECONDITION", elman.UnsupportedError),
    ("BROKEN_BUNDLE", "FAILED_PRECONDITION", elman.UnsupportedError),
    ("MODEL_CHANGED", "FAILED_PRECONDITION", elman.UnsupportedError),
    ("LOADING", "UNAVAILABLE", elman.UnavailableError),
    ("LIMIT_REACHED", "RESOURCE_EXHAUSTED", elman.LimitReachedError),
    ("DEADLINE_PASSED", "DEADLINE_EXCEEDED", elman.DeadlineError),
    ("DRAINING", "UNAVAILABLE", elman.UnavailableError),
    ("ENGINE_FAILED", "INTERNAL", elman.ServerError),
    ("CANCELLED", "CANCELLED", elman.UnavailableError),
    ("", "NOT_FOUND", elman.NotFoundError),
    ("", "INVALID_ARGUMENT", elman.InvalidInputError),
    ("", "PERMISSION_DENIED", elman.AuthenticationError),
    ("", "UNAUTHENTICATED", elman.AuthenticationError),
    ("", "UNIMPLEMENTED", elman.UnsupportedError),
    ("", "RESOURCE_EXHAUSTED", elman.LimitReachedError),
    ("", "DEADLINE_EXCEEDED", elman.DeadlineError),
    ("", "UNAVAILABLE", elman.UnavailableError),
    ("", "INTERNAL", elman.ServerError),
    ("", "UNKNOWN", elman.ServerError),
    ("", "DATA_LOSS", elman.ServerError),
    ("", "ABORTED", elman.ServerError),
    ("A_REASON_OF_TOMORROW", "NOT_FOUND", elman.NotFoundError),
]


def rich_status(code: str, reason: str, retry_seconds: int | None = None, **metadata: str) -> status_pb2.Status:
    status = status_pb2.Status(code=code_pb2.Code.Value(code), message="what happened")
    if reason:
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="elman", metadata=metadata))
        status.details.append(detail)
    if retry_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromSeconds(retry_seconds)
        detail = any_pb2.Any()
        detail.Pack(retry)
        status.details.append(detail)
    return status


def call_error(status: status_pb2.Status, is_rich: bool) -> grpc.aio.AioRpcError:
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    trailing = (("grpc-status-details-bin", status.SerializeToString()),) if is_rich else ()
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), status.message)


@pytest.mark.parametrize(("reason", "code", "kind"), TABLE)
def test_each_reason_and_code_has_its_exception_in_rows_frames_and_calls(reason, code, kind):
    status = rich_status(code, reason, position="7")
    for error in (mapping.error_of_status(status), mapping.error_of_call(call_error(status, is_rich=True))):
        assert type(error) is kind
        assert str(error) == "what happened"
        assert (error.details.code, error.details.reason) == (code, reason)
        assert error.details.metadata == ({"position": "7"} if reason else {})


def test_every_reason_that_the_protocol_documents_is_in_the_table():
    page = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    documented = set(re.findall(r"^\| ([A-Z_]+) \| ([A-Z_]+) \|", page, re.MULTILINE))
    assert documented
    assert documented <= {(reason, code) for reason, code, _ in TABLE}


def test_a_bare_status_is_told_by_its_code():
    error = mapping.error_of_call(call_error(rich_status("UNAVAILABLE", ""), is_rich=False))
    assert type(error) is elman.UnavailableError
    assert str(error) == "what happened"


def test_an_unknown_code_is_the_servers_fault():
    assert type(mapping.error_of_status(status_pb2.Status(code=77))) is elman.ServerError


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        ("UNAVAILABLE", "", True),
        ("UNAVAILABLE", "DRAINING", True),
        ("CANCELLED", "", True),
        ("INTERNAL", "", True),
        ("INTERNAL", "ENGINE_FAILED", False),
        ("ABORTED", "RE_ATTACH", True),
        ("ABORTED", "STALE_HANDLE", False),
        ("UNKNOWN", "", False),
        ("UNAUTHENTICATED", "", False),
        ("RESOURCE_EXHAUSTED", "", False),
    ],
)
def test_what_looks_like_a_cut_is_resumed(code, reason, expected):
    assert is_cut(mapping.error_of_status(rich_status(code, reason))) is expected


def test_a_limit_is_retried_only_when_told_when():
    told = mapping.error_of_status(rich_status("RESOURCE_EXHAUSTED", "LIMIT_REACHED", retry_seconds=2))
    assert is_refused_for_now(told)
    assert told.retry_after_seconds == 2
    assert not is_refused_for_now(mapping.error_of_status(rich_status("RESOURCE_EXHAUSTED", "LIMIT_REACHED")))
