"""The fake server's calls on sessions."""

# ruff: noqa: N802 - gRPC's method names

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import grpc
import numpy as np

from elman.testing._exported import read_exported, state_of, write_exported
from elman.testing._handling import answer
from elman.testing._many_ids import check_mark_name, check_request_id, given, to_open
from elman.testing._model import FakeModel, Values
from elman.testing._names import check_context, context_names
from elman.testing._refusal import Refusal
from elman.testing._server_state import ServerState
from elman.testing._sessions import IDLE_TIMEOUT, REPLAY_CHUNKS, FakeSession
from elman.v1 import sessions_pb2, sessions_pb2_grpc
from elman.wire import from_tensor, to_tensor

OpenedT = TypeVar(
    "OpenedT",
    sessions_pb2.OpenSessionsResponse,
    sessions_pb2.AttachSessionsResponse,
    sessions_pb2.ForkSessionResponse,
    sessions_pb2.ImportSessionResponse,
    sessions_pb2.MoveSessionResponse,
)
_DEFAULT_PAGE = 100
_MAX_PAGE = 1000
_EXISTING = (sessions_pb2.OPEN_MODE_RESUME, sessions_pb2.OPEN_MODE_RESUME_OR_NEW)


class FakeSessionsService(sessions_pb2_grpc.SessionsServicer):
    """Opens, attaches, closes, describes and lists."""

    def __init__(self, server_state: ServerState) -> None:
        self._server_state = server_state

    def OpenSessions(
        self, request: sessions_pb2.OpenSessionsRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.OpenSessionsResponse:
        """Begins or resumes sessions."""
        return answer(self._server_state, context, self._open, request)

    def AttachSessions(
        self, request: sessions_pb2.AttachSessionsRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.AttachSessionsResponse:
        """New handles."""
        return answer(self._server_state, context, self._attach, request)

    def CloseSessions(
        self, request: sessions_pb2.CloseSessionsRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.CloseSessionsResponse:
        """Ends sessions."""
        return answer(self._server_state, context, self._close, request)

    def DescribeSession(
        self, request: sessions_pb2.DescribeSessionRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.DescribeSessionResponse:
        """One session, and its state if asked for."""
        return answer(self._server_state, context, self._describe, request)

    def SetSessionState(
        self, request: sessions_pb2.SetSessionStateRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.SetSessionStateResponse:
        """Another state for a session."""
        return answer(self._server_state, context, self._set_state, request)

    def ForkSession(
        self, request: sessions_pb2.ForkSessionRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.ForkSessionResponse:
        """Sessions that begin where another one is."""
        return answer(self._server_state, context, self._fork, request)

    def MarkSession(
        self, request: sessions_pb2.MarkSessionRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.MarkSessionResponse:
        """A mark to return to."""
        return answer(self._server_state, context, self._mark, request)

    def RewindSession(
        self, request: sessions_pb2.RewindSessionRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.RewindSessionResponse:
        """Back to a mark."""
        return answer(self._server_state, context, self._rewind, request)

    def DropMarks(
        self, request: sessions_pb2.DropMarksRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.DropMarksResponse:
        """Marks are forgotten."""
        return answer(self._server_state, context, self._drop_marks, request)

    def ExportSession(
        self, request: sessions_pb2.ExportSessionRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.ExportSessionResponse:
        """A session as bytes."""
        return answer(self._server_state, context, self._export, request)

    def ImportSession(
        self, request: sessions_pb2.ImportSessionRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.ImportSessionResponse:
        """A session where an exported one was."""
        return answer(self._server_state, context, self._import, request)

    def MoveSession(
        self, request: sessions_pb2.MoveSessionRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.MoveSessionResponse:
        """A session on another version."""
        return answer(self._server_state, context, self._move, request)

    def ListSessions(
        self, request: sessions_pb2.ListSessionsRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.ListSessionsResponse:
        """The sessions of a model, in pages."""
        return answer(self._server_state, context, self._list, request)

    def _open(self, request: sessions_pb2.OpenSessionsRequest) -> sessions_pb2.OpenSessionsResponse:
        self._server_state.check_instance(request.server_instance)
        ids = to_open(request, self._server_state.sessions.new_id)
        context = context_names(request.context)
        model = self._server_state.model(request.model, request.version)
        if request.mode != sessions_pb2.OPEN_MODE_RESUME:
            model.check_steps()
        may_exist, may_begin = request.mode in _EXISTING, request.mode != sessions_pb2.OPEN_MODE_RESUME
        if may_begin:
            check_context(context)

        handed = self._handed(request, model) if request.HasField("hand_off") else None

        def open_one(session_id: str) -> FakeSession:
            if context and self._server_state.sessions.has(model.name, session_id):
                raise _other_context(session_id)
            session = self._server_state.sessions.open(model, session_id, may_exist, may_begin)
            if handed is not None:
                session.state = handed[ids.index(session_id) % len(handed)]
            if request.HasField("end_on_disconnect"):
                session.ends_with_stream = request.end_on_disconnect
            return session

        resumed = [self._server_state.sessions.has(model.name, session_id) for session_id in ids]
        response = self._each(sessions_pb2.OpenSessionsResponse(), ids, open_one)
        failed = {error.index for error in response.errors}
        response.resumed.extend(one and index not in failed for index, one in enumerate(resumed))
        return response

    def _handed(self, request: sessions_pb2.OpenSessionsRequest, model: FakeModel) -> list[Values]:
        """The states that a hand-off gives, one for all or one for each: those of the same size."""
        source = request.hand_off
        name = source.model or request.model
        self._server_state.model(name, "")
        owners = [source.session_id] if source.session_id else source.session_ids
        states = [self._server_state.sessions.get(name, one).state for one in owners]
        states = states or [row.copy() for row in from_tensor(source.states[0].tensor, name="h")[0]]
        if len(states[0]) != model.state_size:
            raise Refusal(
                "INVALID_INPUT",
                f"hand_off: state 'h': expected torch.float32 {[1, model.state_size]} (layers, then features), and 'h' "
                f"of model {name!r} gives torch.float32 {[1, len(states[0])]}",
            )
        return states

    def _attach(self, request: sessions_pb2.AttachSessionsRequest) -> sessions_pb2.AttachSessionsResponse:
        def attach_one(session_id: str) -> FakeSession:
            return self._server_state.sessions.attach(request.model, session_id)

        self._server_state.check_instance(request.server_instance)
        ids = given(request.session_ids)
        self._server_state.model(request.model, "")
        return self._each(sessions_pb2.AttachSessionsResponse(), ids, attach_one)

    def _each(self, response: OpenedT, ids: Iterable[str], open_one: Callable[[str], FakeSession]) -> OpenedT:
        response.server_instance = self._server_state.instance
        response.replay_chunks = REPLAY_CHUNKS
        for index, session_id in enumerate(ids):
            handle, position, version = 0, 0, ""
            try:
                session = open_one(session_id)
                handle, position, version = session.handle, session.position, session.model.version
            except Refusal as refusal:
                response.errors.add(index=index, status=refusal.status)
            response.session_ids.append(session_id)
            response.handles.append(handle)
            response.positions.append(position)
            response.versions.append(version)
        return response

    def _close(self, request: sessions_pb2.CloseSessionsRequest) -> sessions_pb2.CloseSessionsResponse:
        self._server_state.model(request.model, "")
        response = sessions_pb2.CloseSessionsResponse()
        for index, session_id in enumerate(given(request.session_ids)):
            position = 0
            try:
                position = self._server_state.sessions.end(request.model, session_id).position
            except Refusal as refusal:
                response.errors.add(index=index, status=refusal.status)
            response.positions.append(position)
        return response

    def _describe(self, request: sessions_pb2.DescribeSessionRequest) -> sessions_pb2.DescribeSessionResponse:
        self._server_state.model(request.model, "")
        session = self._server_state.sessions.get(request.model, request.session_id)
        response = sessions_pb2.DescribeSessionResponse(session=_info(session))
        for name, (position, _) in session.marks.items():
            response.marks.add(name=name, position=position)
        if request.return_state:
            h_n = session.state.reshape(1, 1, -1)
            response.h_n.CopyFrom(to_tensor(h_n))
            if session.model.is_lstm:
                response.c_n.CopyFrom(to_tensor(np.asarray(2 * h_n)))
        return response

    def _set_state(self, request: sessions_pb2.SetSessionStateRequest) -> sessions_pb2.SetSessionStateResponse:
        self._server_state.model(request.model, "")
        session = self._server_state.sessions.get(request.model, request.session_id)
        session.model.check_steps()
        if request.HasField("h_n") == request.reset:
            raise Refusal("INVALID_INPUT", "expected a state or reset, one of the two")
        state = np.zeros(session.model.state_size, np.float32)
        session.state = from_tensor(request.h_n, name="h_n")[0, 0].copy() if request.HasField("h_n") else state
        return sessions_pb2.SetSessionStateResponse(position=session.position)

    def _fork(self, request: sessions_pb2.ForkSessionRequest) -> sessions_pb2.ForkSessionResponse:
        self._server_state.model(request.model, "")
        sessions = self._server_state.sessions
        if (request.count > 0) == (len(request.session_ids) > 0):
            raise Refusal("INVALID_INPUT", "expected session_ids or count, one of the two")
        check_request_id(request.request_id)
        asked = list(request.session_ids) or request.count
        if made := sessions.made_by(request.model, request.request_id, asked):
            attach = partial(sessions.attach, request.model)
            return self._each(sessions_pb2.ForkSessionResponse(), [one.id for one in made], attach)
        parent = sessions.get(request.model, request.session_id)
        parent.model.check_steps()
        ids = [sessions.new_id() for _ in range(request.count)] or given(request.session_ids)

        def fork_one(session_id: str) -> FakeSession:
            session = sessions.open(parent.model, session_id, False, True)
            session.state, session.position, session.failed_end = parent.state, parent.position, parent.position
            session.ends_with_stream = parent.ends_with_stream
            session.request_id = request.request_id
            return session

        return self._each(sessions_pb2.ForkSessionResponse(), ids, fork_one)

    def _mark(self, request: sessions_pb2.MarkSessionRequest) -> sessions_pb2.MarkSessionResponse:
        session = self._marked(request)
        session.mark(request.mark)
        return sessions_pb2.MarkSessionResponse(position=session.position)

    def _rewind(self, request: sessions_pb2.RewindSessionRequest) -> sessions_pb2.RewindSessionResponse:
        session = self._marked(request)
        session.rewind(request.mark)
        return sessions_pb2.RewindSessionResponse(position=session.position)

    def _marked(self, request: sessions_pb2.MarkSessionRequest | sessions_pb2.RewindSessionRequest) -> FakeSession:
        self._server_state.model(request.model, "")
        check_mark_name(request.mark)
        session = self._server_state.sessions.get(request.model, request.session_id)
        session.model.check_steps()
        return session

    def _drop_marks(self, request: sessions_pb2.DropMarksRequest) -> sessions_pb2.DropMarksResponse:
        self._server_state.model(request.model, "")
        session = self._server_state.sessions.get(request.model, request.session_id)
        for name in request.marks:
            session.check_mark(name)
        for name in list(request.marks) or list(session.marks):
            session.marks.pop(name, None)
        return sessions_pb2.DropMarksResponse()

    def _export(self, request: sessions_pb2.ExportSessionRequest) -> sessions_pb2.ExportSessionResponse:
        self._server_state.model(request.model, "")
        session = self._server_state.sessions.get(request.model, request.session_id)
        return sessions_pb2.ExportSessionResponse(exported=write_exported(session))

    def _import(self, request: sessions_pb2.ImportSessionRequest) -> sessions_pb2.ImportSessionResponse:
        self._server_state.model(request.model, "")
        sessions = self._server_state.sessions
        ids = given([request.session_id]) if request.session_id else []
        exported = read_exported(request.exported)
        check_request_id(request.request_id)
        made = sessions.made_by(request.model, request.request_id, ids or 1)
        if made:
            return self._each(
                sessions_pb2.ImportSessionResponse(), [made[0].id], partial(sessions.attach, request.model)
            )
        model = self._server_state.of_fingerprint(request.model, exported)

        def import_one(session_id: str) -> FakeSession:
            session = sessions.open(model, session_id, may_exist=False, may_begin=True)
            session.state, session.position = state_of(exported), exported.position
            session.failed_end = exported.position
            session.request_id = request.request_id
            return session

        return self._each(sessions_pb2.ImportSessionResponse(), ids or [sessions.new_id()], import_one)

    def _move(self, request: sessions_pb2.MoveSessionRequest) -> sessions_pb2.MoveSessionResponse:
        session = self._server_state.sessions.get(request.model, request.session_id)
        target = self._server_state.model(request.model, request.version)
        for model in (target, session.model):
            model.check_steps()
        shapes = [f"state 'h' float32 {[1, 1, one.state_size]}" for one in (session.model, target)]
        if shapes[0] != shapes[1]:
            raise Refusal(
                "OTHER_STATE",
                f"version {target.version!r} of model {target.name!r} keeps {shapes[1]}, and the session on version "
                f"{session.model.version!r} has {shapes[0]}: its state cannot go on there",
                model=target.name,
            )
        if session.model.num_outputs != target.num_outputs:
            session.held.clear()
        session.model = target

        def attach_one(session_id: str) -> FakeSession:
            return self._server_state.sessions.attach(request.model, session_id)

        return self._each(sessions_pb2.MoveSessionResponse(), [session.id], attach_one)

    def _list(self, request: sessions_pb2.ListSessionsRequest) -> sessions_pb2.ListSessionsResponse:
        self._server_state.model(request.model, "")
        if request.page_size < 0:
            raise Refusal("INVALID_INPUT", f"page_size: expected at least 0, got {request.page_size}")
        size = min(request.page_size or _DEFAULT_PAGE, _MAX_PAGE)
        sessions = self._server_state.sessions.after(request.model, _number(request.page_token))
        token = str(sessions[size - 1].number) if len(sessions) > size else ""
        infos = [_info(session) for session in sessions[:size]]
        return sessions_pb2.ListSessionsResponse(sessions=infos, next_page_token=token)


def _other_context(session_id: str) -> Refusal:
    return Refusal(
        "INVALID_INPUT",
        f"session {session_id!r} runs with another context than the one given; it stays as it was when the session "
        "began: give that, or choose another id",
    )


def _number(token: str) -> int:
    if token and not token.isdecimal():
        raise Refusal("INVALID_INPUT", f"page_token: expected one that this server gave, got {token!r}")
    return int(token or 0)


def _info(session: FakeSession) -> sessions_pb2.SessionInfo:
    info = sessions_pb2.SessionInfo(
        model=session.model.name,
        version=session.model.version,
        session_id=session.id,
        position=session.position,
        admitted=session.position,
    )
    info.create_time.FromDatetime(session.create_time)
    info.use_time.FromDatetime(session.use_time)
    info.expire_time.FromDatetime(session.use_time + IDLE_TIMEOUT)
    return info
