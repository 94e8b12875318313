"""The ids of a call on many sessions, checked as the server checks them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from elman._shared.session_ids import MAX_ID_LENGTH, is_session_id
from elman.testing._refusal import Refusal
from elman.v1 import inference_pb2, sessions_pb2

MAX_IDS: Final = 65536
_EXPECTED: Final = f"1 to {MAX_ID_LENGTH} characters without control characters"
_NEW: Final = (sessions_pb2.OPEN_MODE_UNSPECIFIED, sessions_pb2.OPEN_MODE_NEW)


def given(field: Sequence[str]) -> list[str]:
    """A request's ids. Raises Refusal."""
    if not 1 <= len(field) <= MAX_IDS:
        raise Refusal("INVALID_INPUT", f"session_ids: expected 1 to {MAX_IDS}, got {len(field)}")
    _check(field, "session_ids")
    return list(field)


def _check(ids: Sequence[str], field: str) -> None:
    for session_id in ids:
        if not is_session_id(session_id):
            raise Refusal("INVALID_INPUT", f"{field}: expected {_EXPECTED}, got {session_id[:MAX_ID_LENGTH]!r}")
    if len(set(ids)) < len(ids):
        raise Refusal("INVALID_INPUT", f"{field}: each may stand once, and one is repeated")


def check_mark_name(name: str) -> None:
    """Raises Refusal for what can name no mark."""
    if not is_session_id(name):
        raise Refusal("INVALID_INPUT", f"mark: expected {_EXPECTED}, got {name[:MAX_ID_LENGTH]!r}")


def check_request_id(request_id: str) -> None:
    """Raises Refusal for what can name no request."""
    if len(request_id) > MAX_ID_LENGTH:
        text = f"request_id: expected at most {MAX_ID_LENGTH} characters, got {len(request_id)}"
        raise Refusal("INVALID_INPUT", text)


def keep_ids(request: inference_pb2.InferRequest) -> list[str]:
    """Ids under which states are to be kept. Raises Refusal."""
    ids = list(request.keep_state_as)
    if not ids:
        if request.request_id:
            text = "request_id: is of a request that keeps states; expected keep_state_as with it"
            raise Refusal("INVALID_INPUT", text)
        return ids
    if len(ids) != len(request.lengths):
        text = f"keep_state_as: expected {len(request.lengths)} ids, one for each row, got {len(ids)}"
        raise Refusal("INVALID_INPUT", text)
    _check(ids, "keep_state_as")
    check_request_id(request.request_id)
    return ids


def to_open(request: sessions_pb2.OpenSessionsRequest, new_id: Callable[[], str]) -> list[str]:
    """The ids that a call opens; `new_id` makes those that it does not name. Raises Refusal."""
    if request.mode not in sessions_pb2.OpenMode.values():
        raise Refusal("INVALID_INPUT", f"mode: expected one of 0 to 3, got {request.mode}")
    if not request.count:
        return given(request.session_ids)
    if request.session_ids:
        raise Refusal("INVALID_INPUT", "expected session_ids or count, got both")
    if request.count > MAX_IDS:
        raise Refusal("INVALID_INPUT", f"count: expected at most {MAX_IDS}, got {request.count}")
    if request.mode not in _NEW:
        raise Refusal("INVALID_INPUT", "count: makes new sessions, and the mode is not NEW")
    return [new_id() for _ in range(request.count)]
