"""Session ids, and what to do where one exists and where it does not."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final, Literal, cast

from elman._shared.checks import check_text
from elman._shared.errors import InvalidInputError
from elman.v1 import sessions_pb2

OpenMode = Literal["resume_or_new", "resume", "new"]
"""What to do with an id. "resume_or_new": go on where it exists, else begin at 0. "resume": go on; an id without a
session is an error. "new": begin at 0, also where the id ended; one that lives is an error. An id whose session ended
on the server is an error in both of the former: it never silently begins again."""

MAX_ID_LENGTH: Final = 128
IDS_PER_CALL: Final = 8192
"""More ids go in several calls; the contract takes 65,536 in one."""
_OPEN_INFERENCE: Final = "oip-str:"  # begins ids of the Open Inference Protocol's sequences, and does not count
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MODES: Final[dict[str, sessions_pb2.OpenMode.ValueType]] = {
    "resume_or_new": sessions_pb2.OPEN_MODE_RESUME_OR_NEW,
    "resume": sessions_pb2.OPEN_MODE_RESUME,
    "new": sessions_pb2.OPEN_MODE_NEW,
}


def mode_code(mode: object) -> sessions_pb2.OpenMode.ValueType:
    """The contract's word for a mode. Raises TypeError, InvalidInputError."""
    expected = ", ".join(map(repr, _MODES))
    if not isinstance(mode, str):
        raise TypeError(f"mode: expected one of {expected}, got {mode!r}")
    if mode not in _MODES:
        raise InvalidInputError(f"mode: expected one of {expected}, got {mode!r}")
    return _MODES[mode]


def is_session_id(text: str) -> bool:
    """Whether a session may bear this id, by the contract."""
    return len(text) > 0 and len(text.removeprefix(_OPEN_INFERENCE)) <= MAX_ID_LENGTH and not _CONTROL.search(text)


def check_id(name: str, value: object) -> str:
    """An id as the contract has them. Raises TypeError, InvalidInputError."""
    check_text(name, value)
    value = str(value)
    if is_session_id(value):
        return value
    if _CONTROL.search(value):
        raise InvalidInputError(f"{name}: expected no control characters, got {value!r}")
    length = len(value.removeprefix(_OPEN_INFERENCE))
    raise InvalidInputError(f"{name}: expected 1 to {MAX_ID_LENGTH} characters, got {length}")


def check_ids(value: object, name: str = "ids") -> list[str]:
    """Distinct ids, in order; at least one. Raises TypeError, InvalidInputError."""
    if isinstance(value, str):
        raise TypeError(f"{name}: expected a sequence of ids, got one text, {value!r}; expected [{value!r}]?")
    is_ordered = isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | Mapping | Set)
    if not is_ordered:
        raise TypeError(f"{name}: expected a sequence of ids, got {value!r}")
    ids = [check_id(f"{name}[{place}]", one) for place, one in enumerate(cast("Sequence[object]", value))]
    if not ids:
        raise InvalidInputError(f"{name}: expected at least one id, got none")
    if len(set(ids)) < len(ids):
        repeated = next(one for one in ids if ids.count(one) > 1)
        raise InvalidInputError(f"{name}: expected distinct ids, and {repeated!r} is repeated")
    return ids


def make_request_id() -> str:
    """A name for a request that makes sessions, so that it makes them once however often it is sent."""
    return secrets.token_urlsafe(12)
