"""Room 2, door: `elman.v1.Sessions`."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from numpy.typing import NDArray

from elman.v1 import sessions_pb2, sessions_pb2_grpc
from elman_server.door.door import ANONYMOUS, Door, unary
from elman_server.door.elman_v1 import many_ids
from elman_server.door.elman_v1.exported import read_exported, write_exported
from elman_server.door.elman_v1.hand_off import check_hand_off, read_hand_off, read_handed_states
from elman_server.door.elman_v1.paging import page_size
from elman_server.door.elman_v1.read import read_context, read_mark
from elman_server.door.elman_v1.read_states import read_new_state, read_opening
from elman_server.door.elman_v1.write import add_named, write_marks, write_session, write_states
from elman_server.door.rpc.context import Context
from elman_server.errors import InvalidInput, ServiceError
from elman_server.exchange.initial import Initial
from elman_server.exchange.session_calls.calls import Closed, OpenMode, OpenResult, Owner, SessionView
from elman_server.exchange.session_calls.exported import Exported
from elman_server.exchange.session_calls.hand_off import HandOffRequest
from elman_server.exchange.session_calls.port import SessionCalls
from elman_server.exchange.slices import Slices, first_slice
from elman_server.threads.tell import Tell

T = TypeVar("T")
Open = Callable[[Sequence[str]], OpenResult]
"""Opens some ids of a call."""


class SessionsService(sessions_pb2_grpc.SessionsServicer):
    """Opens, attaches, closes, describes and lists sessions."""

    def __init__(self, door: Door, calls: Callable[[str], SessionCalls]) -> None:
        """`calls`: those on the sessions of the model of a name; raises UnknownModel."""
        self._door = door
        self._calls = calls
        self._catalogue = door.catalogue
        self._slices = Slices(door.engine)

    @unary
    async def OpenSessions(  # noqa: N802
        self, request: sessions_pb2.OpenSessionsRequest, context: Context
    ) -> sessions_pb2.OpenSessionsResponse:
        """See the contract."""
        self._check(request.server_instance)
        mode = many_ids.MODES.get(request.mode)
        if mode is None:
            raise InvalidInput(f"mode: expected one of 0 to 3, got {request.mode}")
        ids = await many_ids.to_open(request)
        if request.HasField("hand_off"):
            return await self._hand_off(request, many_ids.all_of(ids))
        initial = self._initial(request, mode)
        ends = request.end_on_disconnect if request.HasField("end_on_disconnect") else None
        opening = self._calls(request.model).opening(ANONYMOUS, mode, request.version, initial, ends)
        return await self._open(sessions_pb2.OpenSessionsResponse(), opening.open, ids)

    @unary
    async def AttachSessions(  # noqa: N802
        self, request: sessions_pb2.AttachSessionsRequest, context: Context
    ) -> sessions_pb2.AttachSessionsResponse:
        """See the contract."""
        self._check(request.server_instance)
        ids = await many_ids.given(request.session_ids)
        opening = self._calls(request.model).opening(ANONYMOUS, OpenMode.RESUME, "")
        return await self._open(sessions_pb2.AttachSessionsResponse(), opening.open, ids)

    @unary
    async def CloseSessions(  # noqa: N802
        self, request: sessions_pb2.CloseSessionsRequest, context: Context
    ) -> sessions_pb2.CloseSessionsResponse:
        """See the contract."""
        session_calls = self._calls(request.model)
        closing = [await self._close(session_calls, some) for some in await many_ids.given(request.session_ids)]
        response = sessions_pb2.CloseSessionsResponse()
        for closed in closing:
            if response.positions:
                await asyncio.sleep(0)  # others' messages come between
            _write_closed(response, await closed)
        return response

    @unary
    async def DescribeSession(  # noqa: N802
        self, request: sessions_pb2.DescribeSessionRequest, context: Context
    ) -> sessions_pb2.DescribeSessionResponse:
        """See the contract."""
        session_calls = self._calls(request.model)
        owner, with_state = Owner(ANONYMOUS, request.session_id), request.return_state
        engine = self._door.engine
        viewed: asyncio.Future[SessionView] = asyncio.get_running_loop().create_future()
        await engine.call(lambda: session_calls.describe(owner, with_state, partial(engine.loop_calls.settle, viewed)))
        view = await viewed
        response = sessions_pb2.DescribeSessionResponse(session=write_session(view))
        write_marks(response, view.marks)
        if view.states is not None and view.tensors is not None:
            write_states(response, view.tensors, view.states)
            for name, array in view.context.items():
                add_named(response.context, name, array)
        return response

    @unary
    async def SetSessionState(  # noqa: N802
        self, request: sessions_pb2.SetSessionStateRequest, context: Context
    ) -> sessions_pb2.SetSessionStateResponse:
        """See the contract."""
        self._door.check_open()
        session_calls = self._calls(request.model)
        owner, read = Owner(ANONYMOUS, request.session_id), partial(read_new_state, request)
        position: int = await self._after(lambda tell: session_calls.set_state(owner, read, tell))
        return sessions_pb2.SetSessionStateResponse(position=position)

    @unary
    async def ForkSession(  # noqa: N802
        self, request: sessions_pb2.ForkSessionRequest, context: Context
    ) -> sessions_pb2.ForkSessionResponse:
        """See the contract."""
        self._door.check_open()
        ids = await many_ids.to_fork(request)
        session_calls = self._calls(request.model)
        owner = Owner(ANONYMOUS, request.session_id)
        request_id = request.request_id
        forked: OpenResult = await self._after(lambda tell: session_calls.fork(owner, ids, tell, request_id))
        response = sessions_pb2.ForkSessionResponse()
        many_ids.write_opened(response, forked)
        self._write_terms(response)
        return response

    @unary
    async def MarkSession(  # noqa: N802
        self, request: sessions_pb2.MarkSessionRequest, context: Context
    ) -> sessions_pb2.MarkSessionResponse:
        """See the contract."""
        self._door.check_open()
        marks, name = self._calls(request.model).marks, read_mark(request.mark)
        owner = Owner(ANONYMOUS, request.session_id)
        position: int = await self._after(lambda tell: marks.mark(owner, name, tell))
        return sessions_pb2.MarkSessionResponse(position=position)

    @unary
    async def RewindSession(  # noqa: N802
        self, request: sessions_pb2.RewindSessionRequest, context: Context
    ) -> sessions_pb2.RewindSessionResponse:
        """See the contract."""
        self._door.check_open()
        marks, name = self._calls(request.model).marks, read_mark(request.mark)
        owner = Owner(ANONYMOUS, request.session_id)
        position: int = await self._after(lambda tell: marks.rewind(owner, name, tell))
        return sessions_pb2.RewindSessionResponse(position=position)

    @unary
    async def DropMarks(  # noqa: N802
        self, request: sessions_pb2.DropMarksRequest, context: Context
    ) -> sessions_pb2.DropMarksResponse:
        """See the contract."""
        self._door.check_open()
        marks, names = self._calls(request.model).marks, list(request.marks)
        owner = Owner(ANONYMOUS, request.session_id)
        _: int = await self._after(lambda tell: marks.drop(owner, names, tell))
        return sessions_pb2.DropMarksResponse()

    @unary
    async def ExportSession(  # noqa: N802
        self, request: sessions_pb2.ExportSessionRequest, context: Context
    ) -> sessions_pb2.ExportSessionResponse:
        """See the contract."""
        session_calls, owner = self._calls(request.model), Owner(ANONYMOUS, request.session_id)
        exported: Exported = await self._after(lambda tell: session_calls.export(owner, tell))
        return sessions_pb2.ExportSessionResponse(exported=write_exported(exported))

    @unary
    async def ImportSession(  # noqa: N802
        self, request: sessions_pb2.ImportSessionRequest, context: Context
    ) -> sessions_pb2.ImportSessionResponse:
        """See the contract."""
        self._door.check_open()
        session_calls, ids = self._calls(request.model), many_ids.to_import(request)
        exported, request_id = read_exported(request.exported), request.request_id
        opened = await self._door.engine.call(
            lambda: session_calls.import_session(ANONYMOUS, ids, exported, request_id)
        )
        response = sessions_pb2.ImportSessionResponse()
        many_ids.write_opened(response, opened)
        self._write_terms(response)
        return response

    @unary
    async def MoveSession(  # noqa: N802
        self, request: sessions_pb2.MoveSessionRequest, context: Context
    ) -> sessions_pb2.MoveSessionResponse:
        """See the contract."""
        self._door.check_open()
        moves, owner = self._calls(request.model).moves, Owner(ANONYMOUS, request.session_id)
        moved: OpenResult = await self._after(lambda tell: moves.move(owner, request.version, tell))
        response = sessions_pb2.MoveSessionResponse()
        many_ids.write_opened(response, moved)
        self._write_terms(response)
        return response

    async def _after(self, ask: Callable[[Tell[T]], None]) -> T:
        # What the engine tells once the session's queued chunks have run.
        engine = self._door.engine
        told: asyncio.Future[T] = engine.expect()

        def tell(function: Callable[[], T]) -> None:
            try:
                result = function()
            except ServiceError as error:
                engine.loop_calls.settle(told, error=error)
            else:
                engine.loop_calls.settle(told, result)

        await engine.call(lambda: ask(tell))
        return await told

    @unary
    async def ListSessions(  # noqa: N802
        self, request: sessions_pb2.ListSessionsRequest, context: Context
    ) -> sessions_pb2.ListSessionsResponse:
        """See the contract."""
        session_calls = self._calls(request.model)
        left, token = page_size(request.page_size), request.page_token
        response = sessions_pb2.ListSessionsResponse()
        while left:
            count = first_slice(left)
            views, token = await self._slices.call(count, partial(session_calls.page, ANONYMOUS, count, token))
            response.sessions.extend(map(write_session, views))
            left = left - len(views) if token else 0
        response.next_page_token = token
        return response

    def _check(self, instance: str) -> None:
        self._door.check_open()
        self._door.check_instance(instance)

    async def _open(
        self, response: many_ids.Attached, open_some: Open, ids: Iterable[Sequence[str]]
    ) -> many_ids.Attached:
        for some in ids:
            many_ids.write_opened(response, await self._slices.call(len(some), partial(open_some, some)))
        self._write_terms(response)
        return response

    async def _hand_off(
        self, request: sessions_pb2.OpenSessionsRequest, ids: Sequence[str]
    ) -> sessions_pb2.OpenSessionsResponse:
        check_hand_off(request)
        ends = request.end_on_disconnect if request.HasField("end_on_disconnect") else None
        asked = HandOffRequest(ANONYMOUS, ids, request.version, Initial(context=read_context(request.context)), ends)
        calls, message = self._calls(request.model).hand_off, request.hand_off
        source = self._calls(message.model or request.model).directory
        hand_off = read_hand_off(message, source.name)
        if not message.states:
            owners = [Owner(ANONYMOUS, one) for one in message.session_ids or [message.session_id]]
            opened: OpenResult = await self._after(
                lambda tell: calls.from_sessions(asked, source, owners, hand_off, tell)
            )
        else:
            view = source.version(message.version).view
            states = read_handed_states(message, view)
            opened = await self._door.engine.call(lambda: calls.from_states(asked, view.states, states, hand_off))
        response = sessions_pb2.OpenSessionsResponse()
        many_ids.write_opened(response, opened)
        self._write_terms(response)
        return response

    def _initial(self, request: sessions_pb2.OpenSessionsRequest, mode: OpenMode) -> Initial:
        states: tuple[NDArray[Any], ...] = ()
        if request.HasField("h_0") or request.HasField("c_0") or request.initial_states:
            if mode is not OpenMode.NEW:
                raise InvalidInput("h_0, c_0, initial_states: a session that exists has a state; expected the mode NEW")
            view = self._catalogue.directory(request.model).version(request.version).view
            states = read_opening(request, view, request.count or len(request.session_ids))
        return Initial(states, read_context(request.context))

    def _write_terms(self, response: many_ids.Attached) -> None:
        limits = self._catalogue.limits
        response.server_instance = self._door.instance
        response.replay_chunks = limits.replay_chunks
        if limits.idle_timeout_seconds is not None:
            response.idle_timeout.FromNanoseconds(int(limits.idle_timeout_seconds * 1e9))

    async def _close(self, session_calls: SessionCalls, ids: Sequence[str]) -> "asyncio.Future[Closed]":
        # What comes once the last of the ids has ended.
        closed: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()
        done = partial(self._door.engine.loop_calls.settle, closed)
        await self._slices.call(len(ids), lambda: session_calls.close(ANONYMOUS, ids, done))
        return closed


def _write_closed(response: sessions_pb2.CloseSessionsResponse, closed: Closed) -> None:
    many_ids.write_errors(response, closed.errors, len(response.positions))
    response.positions.extend(closed.positions)
