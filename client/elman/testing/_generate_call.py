"""One call of the fake server's `Generate`: step by step, with faults in between."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from elman.testing._generate_spec import check_position, read_spec
from elman.testing._generation import FakeGeneration
from elman.testing._handling import abort, authenticate
from elman.testing._names import check_context, context_names
from elman.testing._refusal import NotFaked, Refusal
from elman.testing._server_state import ServerState
from elman.testing._sessions import FakeSession
from elman.v1 import inference_pb2


class GenerateCall:
    """Tells each step by itself, but those that were generated before a cut at once."""

    def __init__(
        self, server_state: ServerState, request: inference_pb2.GenerateRequest, context: grpc.ServicerContext
    ) -> None:
        self._server_state = server_state
        self._request = request
        self._context = context
        self._own: FakeSession | None = None

    def responses(self) -> Iterator[inference_pb2.GenerateResponse]:
        """What the call answers; refusals and cuts abort it."""
        authenticate(self._server_state, self._context)
        self._context.add_callback(lambda: self._server_state.streams.discard(self._context))
        try:
            yield from self._responses()
        except Refusal as refusal:
            abort(self._context, refusal.status)
        except NotFaked as error:
            self._context.abort(grpc.StatusCode.UNIMPLEMENTED, str(error))
        finally:
            self._end()

    def _responses(self) -> Iterator[inference_pb2.GenerateResponse]:
        told = self._request.told
        generation = self._begin()
        session_id = generation.session.id
        while self._context.is_active():
            self._server_state.running.wait()
            self._cut_perhaps()
            with self._server_state.lock:
                self._check_told(generation)
                if len(generation.steps) == told and not generation.finish:
                    generation.advance()
                response = generation.response(told)
            self._cut_perhaps()  # what was applied may not be told
            response.session_id = session_id
            yield response
            told, session_id = len(generation.steps), ""
            if response.finish:
                return

    def _begin(self) -> FakeGeneration:
        state, request = self._server_state, self._request
        with state.lock:
            state.check_loaded()
            state.check_size(request.ByteSize())
            if state.faults.refuse_now():
                seconds = state.faults.refusal_retry_seconds
                raise Refusal("LIMIT_REACHED", "queue is full", seconds, limit="queue_rows")
            check_position(request)
            context_names(request.context)
            session = self._session()
            generation = self._again(session) or self._anew(session)
            generation.handle, generation.listener = session.handle, self
            session.generation = generation
            state.streams.add(self._context)
            return generation

    def _session(self) -> FakeSession:
        state, request = self._server_state, self._request
        if request.session_id:
            state.model(request.model, "")
            session = state.sessions.get(request.model, request.session_id)
            session.check_version(request.version)
            return session
        model = state.model(request.model, request.version)
        read_spec(request, model)  # before there is a session
        if model.is_bidirectional:
            raise Refusal("NO_SESSIONS", "a bidirectional model keeps no sessions", model=model.name)
        check_context(context_names(request.context))
        self._own = state.sessions.open(model, state.sessions.new_id(), may_exist=False, may_begin=True)
        return self._own

    def _again(self, session: FakeSession) -> FakeGeneration | None:
        # The same was asked for before, and nobody else has stepped the session since.
        found, request = session.generation, self._request
        is_same = isinstance(found, FakeGeneration) and found.key == _key(request) and found.begin == request.position
        if not isinstance(found, FakeGeneration) or not is_same or found.position != session.position:
            return None
        if request.told > len(found.steps):
            raise Refusal("INVALID_INPUT", f"told: {len(found.steps)} steps were generated, got {request.told}")
        return found

    def _anew(self, session: FakeSession) -> FakeGeneration:
        request, position = self._request, session.position
        given = request.position if request.HasField("position") else position
        if given > position:
            text = f"position {given} is ahead of the session's, {position}"
            raise Refusal("POSITION_AHEAD", text, position=position, given=given)
        if given < position:
            text = f"position {given} is behind the session's, {position}, and what was generated there is not held"
            raise Refusal("ANSWER_GONE", text, position=position, given=given)
        if request.told:
            text = f"told: nothing was generated from position {position} yet, got {request.told}"
            raise Refusal("INVALID_INPUT", text)
        return FakeGeneration(read_spec(request, session.model), _key(request), session)

    def _check_told(self, generation: FakeGeneration) -> None:
        if generation.listener is not self:
            raise Refusal("SUPERSEDED", "the same was asked for again, and goes on there")

    def _cut_perhaps(self) -> None:
        with self._server_state.lock:
            code = self._server_state.faults.cut_now()
        if code is not None:
            self._context.abort(code, "cut by the test")

    def _end(self) -> None:
        if self._own is not None:
            with self._server_state.lock:
                sessions, own = self._server_state.sessions, self._own
                if sessions.has(own.model.name, own.id):
                    sessions.end(own.model.name, own.id)


def _key(request: inference_pb2.GenerateRequest) -> bytes:
    same = inference_pb2.GenerateRequest()
    same.CopyFrom(request)
    same.told = 0
    return same.SerializeToString(deterministic=True)
