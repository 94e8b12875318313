"""What is asked of one session by its id: its state, its marks, itself as bytes."""

from __future__ import annotations

from collections.abc import Sequence

from elman._shared.deadline import Deadline
from elman._shared.errors import ElmanError, UnknownMarkError
from elman._shared.info import ModelInfo
from elman._shared.records import name_states, read_states
from elman._shared.results import State
from elman._shared.transport import Transport
from elman.v1 import sessions_pb2
from elman.wire import Array, fill_tensor


class SessionCalls:
    """Calls that neither begin nor end a session. All raise ElmanError."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def state(self, info: ModelInfo, session_id: str, deadline: Deadline | None = None) -> State:
        """A session's state as it is now."""
        request = sessions_pb2.DescribeSessionRequest(model=info.name, session_id=session_id, return_state=True)
        response = await self._transport.call(self._transport.sessions.DescribeSession, request, deadline=deadline)
        return State.of(info, read_states(response, info), response.session.position)

    async def set_state(
        self, info: ModelInfo, session_id: str, states: Sequence[Array] | None, deadline: Deadline
    ) -> None:
        """Puts [layers or 1, 1, *features] of each state in place of a session's; None: what the model begins with."""
        request = sessions_pb2.SetSessionStateRequest(model=info.name, session_id=session_id, reset=states is None)
        if states is not None and info.has_stack_state:
            for field, state, one in zip(("h_n", "c_n"), states, info.states, strict=False):
                fill_tensor(getattr(request, field), state, one.wire_dtype)
        elif states is not None:
            request.states.extend(name_states(info, states))
        await self._transport.call(self._transport.sessions.SetSessionState, request, deadline=deadline)

    async def mark(self, info: ModelInfo, session_id: str, name: str, deadline: Deadline) -> None:
        """Keeps a session's state and position under a name."""
        request = sessions_pb2.MarkSessionRequest(model=info.name, session_id=session_id, mark=name)
        await self._transport.call(self._transport.sessions.MarkSession, request, deadline=deadline)

    async def rewind(self, info: ModelInfo, session_id: str, name: str, deadline: Deadline) -> int:
        """Returns a session to a mark; its position."""
        request = sessions_pb2.RewindSessionRequest(model=info.name, session_id=session_id, mark=name)
        response = await self._transport.call(self._transport.sessions.RewindSession, request, deadline=deadline)
        return response.position

    async def marks(self, info: ModelInfo, session_id: str, deadline: Deadline) -> dict[str, int]:
        """Positions of a session's marks, by name."""
        request = sessions_pb2.DescribeSessionRequest(model=info.name, session_id=session_id)
        response = await self._transport.call(self._transport.sessions.DescribeSession, request, deadline=deadline)
        return {mark.name: mark.position for mark in response.marks}

    async def drop_mark(self, info: ModelInfo, session_id: str, name: str, deadline: Deadline) -> None:
        """Forgets a mark. One that a try whose answer was lost has dropped is as good."""
        cuts: list[ElmanError] = []
        request = sessions_pb2.DropMarksRequest(model=info.name, session_id=session_id, marks=[name])
        method = self._transport.sessions.DropMarks
        try:
            await self._transport.call(method, request, deadline=deadline, on_cut=cuts.append)
        except UnknownMarkError:
            if not cuts:
                raise

    async def export(self, info: ModelInfo, session_id: str, deadline: Deadline) -> bytes:
        """A session as bytes."""
        request = sessions_pb2.ExportSessionRequest(model=info.name, session_id=session_id)
        response = await self._transport.call(self._transport.sessions.ExportSession, request, deadline=deadline)
        return response.exported
