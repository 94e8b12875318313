"""The ids of a call on many sessions: checked before anything is done, or made by the server; and its answer, by id."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from elman.v1 import sessions_pb2
from elman_server.door.elman_v1.status import to_status
from elman_server.errors import InvalidInput, ServiceError
from elman_server.exchange.session_calls.calls import OpenMode, OpenResult
from elman_server.exchange.session_calls.ids import EXPECTED, MAX_ID_LENGTH, is_session_id, make_id
from elman_server.exchange.slices import slices_of

Attached = TypeVar(
    "Attached",
    sessions_pb2.OpenSessionsResponse,
    sessions_pb2.AttachSessionsResponse,
    sessions_pb2.ForkSessionResponse,
    sessions_pb2.ImportSessionResponse,
    sessions_pb2.MoveSessionResponse,
)
"""What gives handles."""

MAX_IDS = 65536
"""Sessions of one call."""

MAX_FORKS = 1024
"""New sessions of one fork: a few milliseconds of the engine's."""

MODES = {
    sessions_pb2.OPEN_MODE_UNSPECIFIED: OpenMode.NEW,
    sessions_pb2.OPEN_MODE_NEW: OpenMode.NEW,
    sessions_pb2.OPEN_MODE_RESUME: OpenMode.RESUME,
    sessions_pb2.OPEN_MODE_RESUME_OR_NEW: OpenMode.RESUME_OR_NEW,
}


async def given(field: Sequence[str]) -> Iterator[Sequence[str]]:
    """A request's ids, by slices; the loop is not held up while many are checked.

    Raises:
        InvalidInput: none, too many, or one that is repeated or can be no session's.
    """
    if not 1 <= len(field) <= MAX_IDS:
        raise InvalidInput(f"session_ids: expected 1 to {MAX_IDS}, got {len(field)}")
    ids: list[str] = []
    distinct: set[str] = set()
    for some in slices_of(field):
        if ids:
            await asyncio.sleep(0)  # others' messages come between
        _check(some)
        ids += some
        distinct.update(some)
        if len(distinct) < len(ids):
            raise InvalidInput("session_ids: each may stand once, and one is repeated")
    return slices_of(ids)


async def to_open(request: sessions_pb2.OpenSessionsRequest) -> Iterable[Sequence[str]]:
    """The ids that a call opens, by slices.

    Raises:
        InvalidInput: as `given`, or there are both ids and a count, or a count that is too large or of another mode.
    """
    if not request.count:
        return await given(request.session_ids)
    if request.session_ids:
        raise InvalidInput("expected session_ids or count, got both")
    if request.count > MAX_IDS:
        raise InvalidInput(f"count: expected at most {MAX_IDS}, got {request.count}")
    if MODES[request.mode] is not OpenMode.NEW:
        raise InvalidInput("count: makes new sessions, and the mode is not NEW")
    return _made(request.count)


async def to_fork(request: sessions_pb2.ForkSessionRequest) -> list[str] | int:
    """The ids of new sessions beside another one, all together: they begin where it is at one moment; or how many under
    ids that the server makes.

    Raises:
        InvalidInput: as `to_open`, or more than MAX_FORKS.
    """
    check_request_id(request.request_id)
    asked = request.count or len(request.session_ids)
    if request.count and request.session_ids:
        raise InvalidInput("expected session_ids or count, got both")
    if not 1 <= asked <= MAX_FORKS:
        raise InvalidInput(f"expected 1 to {MAX_FORKS} new sessions, got {asked}")
    return int(request.count) or all_of(await given(request.session_ids))


def all_of(ids: Iterable[Sequence[str]]) -> list[str]:
    """Ids by slices, all together.

    Raises:
        InvalidInput: more than MAX_FORKS.
    """
    together = [session_id for some in ids for session_id in some]
    if len(together) > MAX_FORKS:
        raise InvalidInput(f"expected 1 to {MAX_FORKS} new sessions, got {len(together)}")
    return together


def to_import(request: sessions_pb2.ImportSessionRequest) -> list[str]:
    """The id of a session that is imported; none where the server is to make one.

    Raises:
        InvalidInput: it can be no session's, or the request's name is too long.
    """
    check_request_id(request.request_id)
    if not request.session_id:
        return []
    _check([request.session_id])
    return [request.session_id]


def check_request_id(request_id: str) -> None:
    """Raises InvalidInput unless a request may be called so."""
    if len(request_id) > MAX_ID_LENGTH:
        raise InvalidInput(f"request_id: expected at most {MAX_ID_LENGTH} characters, got {len(request_id)}")


def write_opened(response: Attached, opened: OpenResult) -> None:
    """One slice of what opening gave, behind those before it."""
    write_errors(response, opened.errors, len(response.session_ids))
    response.session_ids.extend(opened.ids)
    response.handles.extend(opened.handles)
    response.positions.extend(opened.positions)
    response.versions.extend(opened.versions)
    if isinstance(response, sessions_pb2.OpenSessionsResponse):
        response.resumed.extend(opened.resumed)


def write_errors(
    response: Attached | sessions_pb2.CloseSessionsResponse, errors: Mapping[int, ServiceError], first: int
) -> None:
    """Those of the slice that begins with id `first`."""
    for index, error in sorted(errors.items()):
        response.errors.add(index=first + index, status=to_status(error))


def _made(count: int) -> Iterator[Sequence[str]]:
    for some in slices_of(range(count)):
        yield [make_id() for _ in some]


def check_ids(ids: Sequence[str], field: str) -> None:
    """Raises InvalidInput for one that is repeated or can be no session's."""
    _check(ids, field)
    if len(set(ids)) < len(ids):
        raise InvalidInput(f"{field}: each may stand once, and one is repeated")


def _check(ids: Sequence[str], field: str = "session_ids") -> None:
    for session_id in ids:
        if not is_session_id(session_id):
            raise InvalidInput(f"{field}: expected {EXPECTED}, got {session_id[:MAX_ID_LENGTH]!r}")
