"""The fake server's calls on sessions."""

# ruff: noqa: N802 - gRPC's method names

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import grpc
import numpy as np

from elman.testing._door import answer
from elman.testing._model import FakeModel
from elman.testing._refusal import Refusal
from elman.testing._sessions import REPLAY_CHUNKS, FakeSession
from elman.testing._world import World
from elman.v1 import sessions_pb2, sessions_pb2_grpc
from elman.wire import to_tensor

OpenedT = TypeVar("OpenedT", sessions_pb2.OpenSessionsResponse, sessions_pb2.AttachSessionsResponse)
_EXISTING = (sessions_pb2.OPEN_MODE_RESUME, sessions_pb2.OPEN_MODE_RESUME_OR_NEW)


class FakeSessionsService(sessions_pb2_grpc.SessionsServicer):
    """Opens, attaches, closes, describes and lists."""

    def __init__(self, world: World) -> None:
        self._world = world

    def OpenSessions(
        self, request: sessions_pb2.OpenSessionsRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.OpenSessionsResponse:
        """Begins or resumes sessions."""
        return answer(self._world, context, self._open, request)

    def AttachSessions(
        self, request: sessions_pb2.AttachSessionsRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.AttachSessionsResponse:
        """New handles."""
        return answer(self._world, context, self._attach, request)

    def CloseSessions(
        self, request: sessions_pb2.CloseSessionsRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.CloseSessionsResponse:
        """Ends sessions."""
        return answer(self._world, context, self._close, request)

    def DescribeSession(
        self, request: sessions_pb2.DescribeSessionRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.DescribeSessionResponse:
        """One session, and its state if asked for."""
        return answer(self._world, context, self._describe, request)

    def ListSessions(
        self, request: sessions_pb2.ListSessionsRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.ListSessionsResponse:
        """All sessions of a model, in one page."""
        return answer(self._world, context, self._list, request)

    def _open(self, request: sessions_pb2.OpenSessionsRequest) -> sessions_pb2.OpenSessionsResponse:
        model = self._world.model(request.model, request.version)
        if model.is_bidirectional:
            raise Refusal("NO_SESSIONS", "a bidirectional model keeps no sessions", model=model.name)
        if bool(request.session_ids) == bool(request.count):
            raise Refusal("INVALID_INPUT", "expected ids or a count, one of the two")
        ids = list(request.session_ids) or [self._world.sessions.new_id() for _ in range(request.count)]
        may_exist, may_begin = request.mode in _EXISTING, request.mode != sessions_pb2.OPEN_MODE_RESUME

        def open_one(session_id: str) -> FakeSession:
            return self._world.sessions.open(model, session_id, may_exist, may_begin)

        return self._each(sessions_pb2.OpenSessionsResponse(), ids, open_one)

    def _attach(self, request: sessions_pb2.AttachSessionsRequest) -> sessions_pb2.AttachSessionsResponse:
        def attach_one(session_id: str) -> FakeSession:
            return self._world.sessions.attach(request.model, session_id)

        return self._each(sessions_pb2.AttachSessionsResponse(), request.session_ids, attach_one)

    def _each(self, response: OpenedT, ids: Iterable[str], open_one: Callable[[str], FakeSession]) -> OpenedT:
        response.server_instance = self._world.instance
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
        response = sessions_pb2.CloseSessionsResponse()
        for index, session_id in enumerate(request.session_ids):
            position = 0
            try:
                position = self._world.sessions.end(request.model, session_id).position
            except Refusal as refusal:
                response.errors.add(index=index, status=refusal.status)
            response.positions.append(position)
        return response

    def _describe(self, request: sessions_pb2.DescribeSessionRequest) -> sessions_pb2.DescribeSessionResponse:
        session = self._world.sessions.get(request.model, request.session_id)
        response = sessions_pb2.DescribeSessionResponse(session=_info(session, session.model))
        if request.return_state:
            h_n = session.state.reshape(1, 1, -1)
            response.h_n.CopyFrom(to_tensor(h_n))
            if session.model.is_lstm:
                response.c_n.CopyFrom(to_tensor(np.asarray(2 * h_n)))
        return response

    def _list(self, request: sessions_pb2.ListSessionsRequest) -> sessions_pb2.ListSessionsResponse:
        model = self._world.model(request.model, "")
        return sessions_pb2.ListSessionsResponse(
            sessions=[_info(session, model) for session in self._world.sessions.of_model(request.model)]
        )


def _info(session: FakeSession, model: FakeModel) -> sessions_pb2.SessionInfo:
    return sessions_pb2.SessionInfo(
        model=model.name,
        version=session.model.version,
        session_id=session.id,
        position=session.position,
        admitted=session.position,
    )
