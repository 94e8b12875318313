"""What gives out handles on the fake server: sessions that are opened, attached, forked, imported or moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from elman.testing._exported import read_exported, state_of
from elman.testing._many_ids import check_request_id, given, to_open
from elman.testing._model import FakeModel, Values
from elman.testing._names import check_context, context_names
from elman.testing._refusal import Refusal
from elman.testing._server_state import ServerState
from elman.testing._sessions import REPLAY_CHUNKS, FakeSession
from elman.v1 import sessions_pb2
from elman.wire import from_tensor

OpenedT = TypeVar(
    "OpenedT",
    sessions_pb2.OpenSessionsResponse,
    sessions_pb2.AttachSessionsResponse,
    sessions_pb2.ForkSessionResponse,
    sessions_pb2.ImportSessionResponse,
    sessions_pb2.MoveSessionResponse,
)
_EXISTING = (sessions_pb2.OPEN_MODE_RESUME, sessions_pb2.OPEN_MODE_RESUME_OR_NEW)


class FakeOpenings:
    """Under the server's lock; what cannot be opened is told for each id."""

    def __init__(self, server_state: ServerState) -> None:
        self._server_state = server_state

    def open(self, request: sessions_pb2.OpenSessionsRequest) -> sessions_pb2.OpenSessionsResponse:
        """Begins or resumes sessions."""
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

    def attach(self, request: sessions_pb2.AttachSessionsRequest) -> sessions_pb2.AttachSessionsResponse:
        """Gives new handles to sessions."""

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

    def fork(self, request: sessions_pb2.ForkSessionRequest) -> sessions_pb2.ForkSessionResponse:
        """Begins sessions where another one is."""
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

    def import_session(self, request: sessions_pb2.ImportSessionRequest) -> sessions_pb2.ImportSessionResponse:
        """Begins a session where an exported one was."""
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

    def move(self, request: sessions_pb2.MoveSessionRequest) -> sessions_pb2.MoveSessionResponse:
        """Has a session go on on another version."""
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


def _other_context(session_id: str) -> Refusal:
    return Refusal(
        "INVALID_INPUT",
        f"session {session_id!r} runs with another context than the one given; it stays as it was when the session "
        "began: give that, or choose another id",
    )
