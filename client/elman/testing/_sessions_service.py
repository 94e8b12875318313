"""The fake server's calls on sessions."""

# ruff: noqa: N802 - gRPC's method names

from __future__ import annotations

import grpc
import numpy as np

from elman.testing._exported import write_exported
from elman.testing._handling import answer
from elman.testing._many_ids import check_mark_name, given
from elman.testing._openings import FakeOpenings
from elman.testing._refusal import Refusal
from elman.testing._server_state import ServerState
from elman.testing._sessions import IDLE_TIMEOUT, FakeSession
from elman.v1 import sessions_pb2, sessions_pb2_grpc
from elman.wire import from_tensor, to_tensor

_DEFAULT_PAGE = 100
_MAX_PAGE = 1000


class FakeSessionsService(sessions_pb2_grpc.SessionsServicer):
    """Opens, attaches, closes, describes and lists."""

    def __init__(self, server_state: ServerState) -> None:
        self._server_state = server_state
        self._openings = FakeOpenings(server_state)

    def OpenSessions(
        self, request: sessions_pb2.OpenSessionsRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.OpenSessionsResponse:
        """Begins or resumes sessions."""
        return answer(self._server_state, context, self._openings.open, request)

    def AttachSessions(
        self, request: sessions_pb2.AttachSessionsRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.AttachSessionsResponse:
        """New handles."""
        return answer(self._server_state, context, self._openings.attach, request)

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
        return answer(self._server_state, context, self._openings.fork, request)

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
        return answer(self._server_state, context, self._openings.import_session, request)

    def MoveSession(
        self, request: sessions_pb2.MoveSessionRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.MoveSessionResponse:
        """A session on another version."""
        return answer(self._server_state, context, self._openings.move, request)

    def ListSessions(
        self, request: sessions_pb2.ListSessionsRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.ListSessionsResponse:
        """The sessions of a model, in pages."""
        return answer(self._server_state, context, self._list, request)

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

    def _list(self, request: sessions_pb2.ListSessionsRequest) -> sessions_pb2.ListSessionsResponse:
        self._server_state.model(request.model, "")
        if request.page_size < 0:
            raise Refusal("INVALID_INPUT", f"page_size: expected at least 0, got {request.page_size}")
        size = min(request.page_size or _DEFAULT_PAGE, _MAX_PAGE)
        sessions = self._server_state.sessions.after(request.model, _number(request.page_token))
        token = str(sessions[size - 1].number) if len(sessions) > size else ""
        infos = [_info(session) for session in sessions[:size]]
        return sessions_pb2.ListSessionsResponse(sessions=infos, next_page_token=token)


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
