"""Room 2, door: `elman.v1.Sessions`."""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from elman.v1 import sessions_pb2, sessions_pb2_grpc
from elman_server.door.context import Context
from elman_server.door.door import ANONYMOUS, Door, unary
from elman_server.door.elman_v1.paging import page_size
from elman_server.door.elman_v1.status import to_status
from elman_server.door.elman_v1.write import write_session, write_tensors
from elman_server.engine.session_calls import Closed, SessionCalls, SessionView
from elman_server.errors import InvalidInput, ServiceError
from elman_server.exchange.session_ids import EXPECTED, MAX_ID_LENGTH, is_session_id
from elman_server.models.catalogue import Catalogue
from elman_server.sessions.directory import OpenMode, OpenResult
from elman_server.sessions.table import Owner

T = TypeVar("T")
Attached = TypeVar("Attached", sessions_pb2.OpenSessionsResponse, sessions_pb2.AttachSessionsResponse)

Ask = Callable[[Callable[[T], None]], None]
"""Asks for something that is handed over later."""

MAX_IDS = 65536

_MODES = {
    sessions_pb2.OPEN_MODE_UNSPECIFIED: OpenMode.NEW,
    sessions_pb2.OPEN_MODE_NEW: OpenMode.NEW,
    sessions_pb2.OPEN_MODE_RESUME: OpenMode.RESUME,
    sessions_pb2.OPEN_MODE_RESUME_OR_NEW: OpenMode.RESUME_OR_NEW,
}


class SessionsService(sessions_pb2_grpc.SessionsServicer):
    """Opens, attaches, closes, describes and lists sessions."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._catalogue: Catalogue = door.catalogue

    @unary
    async def OpenSessions(  # noqa: N802
        self, request: sessions_pb2.OpenSessionsRequest, context: Context
    ) -> sessions_pb2.OpenSessionsResponse:
        """See the contract."""
        self._check(request.server_instance)
        mode = _MODES.get(request.mode)
        if mode is None:
            raise InvalidInput(f"mode: expected one of 0 to 3, got {request.mode}")
        ids = _ids_to_open(request)
        opened = await self._open(request.model, ids, mode, request.version)
        return self._fill(sessions_pb2.OpenSessionsResponse(resumed=opened.resumed), opened)

    @unary
    async def AttachSessions(  # noqa: N802
        self, request: sessions_pb2.AttachSessionsRequest, context: Context
    ) -> sessions_pb2.AttachSessionsResponse:
        """See the contract."""
        self._check(request.server_instance)
        opened = await self._open(request.model, _ids(request.session_ids), OpenMode.RESUME, "")
        return self._fill(sessions_pb2.AttachSessionsResponse(), opened)

    @unary
    async def CloseSessions(  # noqa: N802
        self, request: sessions_pb2.CloseSessionsRequest, context: Context
    ) -> sessions_pb2.CloseSessionsResponse:
        """See the contract."""
        directory, ids = self._catalogue.directory(request.model), _ids(request.session_ids)
        session_calls = SessionCalls(directory, self._door.engine.clock)
        ask: Ask[Closed] = lambda done: session_calls.close(ANONYMOUS, ids, done)  # noqa: E731
        closed = await self._answered(ask)
        return sessions_pb2.CloseSessionsResponse(positions=closed.positions, errors=_errors(closed.errors))

    @unary
    async def DescribeSession(  # noqa: N802
        self, request: sessions_pb2.DescribeSessionRequest, context: Context
    ) -> sessions_pb2.DescribeSessionResponse:
        """See the contract."""
        session_calls = SessionCalls(self._catalogue.directory(request.model), self._door.engine.clock)
        owner, with_state = Owner(ANONYMOUS, request.session_id), request.return_state
        ask: Ask[SessionView] = lambda done: session_calls.describe(owner, with_state, done)  # noqa: E731
        view = await self._answered(ask)
        response = sessions_pb2.DescribeSessionResponse(session=write_session(view))
        if view.state is not None:
            h, c = view.state
            write_tensors(response, h_n=h.cpu().numpy(), c_n=None if c is None else c.cpu().numpy())
        return response

    @unary
    async def ListSessions(  # noqa: N802
        self, request: sessions_pb2.ListSessionsRequest, context: Context
    ) -> sessions_pb2.ListSessionsResponse:
        """See the contract."""
        session_calls = SessionCalls(self._catalogue.directory(request.model), self._door.engine.clock)
        count = page_size(request.page_size)
        views, token = await self._door.engine.call(lambda: session_calls.page(ANONYMOUS, count, request.page_token))
        return sessions_pb2.ListSessionsResponse(sessions=[write_session(v) for v in views], next_page_token=token)

    def _check(self, instance: str) -> None:
        self._door.check_open()
        self._door.check_instance(instance)

    async def _open(self, model: str, ids: Sequence[str], mode: OpenMode, version: str) -> OpenResult:
        directory, clock = self._catalogue.directory(model), self._door.engine.clock
        return await self._door.engine.call(lambda: directory.open(ANONYMOUS, ids, mode, version, clock.now()))

    async def _answered(self, ask: Ask[T]) -> T:
        # `ask` runs on the engine's thread and calls back there, perhaps some batches later.
        engine = self._door.engine
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def done(result: T) -> None:
            engine.result_queue.call(lambda: None if future.done() else future.set_result(result))

        await engine.call(lambda: ask(done))
        return await future

    def _fill(self, response: Attached, opened: OpenResult) -> Attached:
        limits = self._catalogue.limits
        response.server_instance = self._door.instance
        response.session_ids.extend(opened.ids)
        response.handles.extend(opened.handles)
        response.positions.extend(opened.positions)
        response.versions.extend(opened.versions)
        response.errors.extend(_errors(opened.errors))
        response.replay_chunks = limits.replay_chunks
        if limits.idle_timeout_seconds is not None:
            response.idle_timeout.FromNanoseconds(int(limits.idle_timeout_seconds * 1e9))
        return response


def _ids_to_open(request: sessions_pb2.OpenSessionsRequest) -> list[str]:
    if not request.count:
        return _ids(request.session_ids)
    if request.session_ids:
        raise InvalidInput("expected session_ids or count, got both")
    if request.count > MAX_IDS:
        raise InvalidInput(f"count: expected at most {MAX_IDS}, got {request.count}")
    if _MODES[request.mode] is not OpenMode.NEW:
        raise InvalidInput("count: makes new sessions, and the mode is not NEW")
    return [secrets.token_urlsafe(12) for _ in range(request.count)]


def _ids(field: Sequence[str]) -> list[str]:
    ids = list(field)
    if not 1 <= len(ids) <= MAX_IDS:
        raise InvalidInput(f"session_ids: expected 1 to {MAX_IDS}, got {len(ids)}")
    for session_id in ids:
        if not is_session_id(session_id):
            raise InvalidInput(f"session_ids: expected {EXPECTED}, got {session_id[:MAX_ID_LENGTH]!r}")
    if len(set(ids)) < len(ids):
        raise InvalidInput("session_ids: each may stand once, and one is repeated")
    return ids


def _errors(errors: Mapping[int, ServiceError]) -> list[sessions_pb2.SessionError]:
    return [sessions_pb2.SessionError(index=i, status=to_status(e)) for i, e in sorted(errors.items())]
