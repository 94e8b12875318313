"""Opens, ends and lets go of sessions, in batches."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from elman._session_ender import SessionEnder
from elman._shared.deadline import Deadline
from elman._shared.errors import (
    ElmanError,
    NotFoundError,
    RowErrors,
    SessionExistsError,
    UnavailableError,
    UnknownMarkError,
    UnknownModelError,
    UnsupportedError,
)
from elman._shared.info import ModelInfo
from elman._shared.packed_layout import Index
from elman._shared.records import Arrays, name_states, read_states
from elman._shared.results import State
from elman._shared.session_ids import IDS_PER_CALL, make_request_id
from elman._shared.status import error_of_status
from elman._shared.transport import Transport
from elman._stepping.driver import Driver
from elman.v1 import sessions_pb2, tensor_pb2
from elman.wire import Array, fill_tensor, to_tensor

ColumnT = TypeVar("ColumnT")
_MAX_ROUNDS = 4


@dataclass(frozen=True)
class Begun:
    """What sessions begin with."""

    context: Arrays  # [count, *features] by name
    states: Sequence[Array] | None = None  # [layers or 1, count, *features] each
    end_on_disconnect: bool | None = None  # with the stream that drives them; None: as the server says
    hand_off: sessions_pb2.HandOff | None = None  # instead of states; of at most 1024 sessions

    def part(self, first: int, info: ModelInfo) -> dict[str, Any]:
        """The fields of one of several calls."""
        fields = {"context": _part_of(self.context, first, info), **_states_part(self.states, first, info)}
        if self.hand_off is not None:
            fields["hand_off"] = self.hand_off
        return fields if self.end_on_disconnect is None else fields | {"end_on_disconnect": self.end_on_disconnect}


@dataclass(frozen=True)
class OpenedSessions:
    """Sessions of one model version, known to the table."""

    rows: Index  # numbers in the table
    ids: list[str]
    version: str
    resumed: list[bool]  # whether each existed before
    is_named: bool  # under ids that the caller chose: kept when they are closed
    begun: list[str]  # ids that were begun by this opening for sure


@dataclass(frozen=True)
class _Batch:
    """What came of one call."""

    response: sessions_pb2.OpenSessionsResponse
    failed: dict[int, ElmanError]
    was_cut: bool  # a try of it: what it had done was lost
    connection: int  # which the handles are for

    @property
    def errors(self) -> list[ElmanError | None]:
        """By place."""
        return [self.failed.get(place) for place in range(len(self.response.handles))]

    @property
    def begun(self) -> list[str]:
        """Ids that did not exist before the try that was answered."""
        ids, resumed = self.picked(self.response.session_ids), self.picked(self.response.resumed)
        return [session_id for session_id, existed in zip(ids, resumed, strict=True) if not existed]

    @property
    def resumed(self) -> list[bool]:
        """Whether each existed before; after a cut, an untouched one was begun by the try whose answer was lost."""
        positions = self.response.positions
        return [
            existed and (position > 0 or not self.was_cut)
            for existed, position in zip(self.response.resumed, positions, strict=True)
        ]

    def picked(self, column: Iterable[ColumnT]) -> list[ColumnT]:
        """A column without what failed."""
        return [value for place, value in enumerate(column) if place not in self.failed]


class SessionOpener:
    """Keeps the table's rows and the server's sessions in step."""

    def __init__(self, transport: Transport, driver: Driver) -> None:
        self.ender = SessionEnder(transport)
        self._transport = transport
        self._driver = driver

    async def open_new(self, info: ModelInfo, count: int, begun: Begun) -> OpenedSessions:
        """Begins sessions under ids that the server makes; `begun` of so many."""
        return await self._open(
            [
                sessions_pb2.OpenSessionsRequest(
                    model=info.name,
                    version=info.version,
                    count=min(IDS_PER_CALL, count - first),
                    mode=sessions_pb2.OPEN_MODE_NEW,
                    **begun.part(first, info),
                )
                for first in range(0, count, IDS_PER_CALL)
            ],
            is_named=False,
        )

    async def open_named(
        self,
        info: ModelInfo,
        version: str,
        ids: Sequence[str],
        mode: sessions_pb2.OpenMode.ValueType,
        begun: Begun,
    ) -> OpenedSessions:
        """Resumes or begins the caller's own sessions, on that version if it is not empty; `begun` of as many."""
        return await self._open(
            [
                sessions_pb2.OpenSessionsRequest(
                    model=info.name,
                    version=version,
                    session_ids=ids[first : first + IDS_PER_CALL],
                    mode=mode,
                    **begun.part(first, info),
                )
                for first in range(0, len(ids), IDS_PER_CALL)
            ],
            is_named=True,
        )

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

    async def fork(self, info: ModelInfo, session_id: str, count: int, deadline: Deadline) -> OpenedSessions:
        """Begins sessions where another one is, under ids that the server makes."""
        request = sessions_pb2.ForkSessionRequest(
            model=info.name, session_id=session_id, count=count, request_id=make_request_id()
        )
        response = await self._transport.call(self._transport.sessions.ForkSession, request, deadline=deadline)
        failed = {one.index: error_of_status(one.status) for one in response.errors}
        ids = [session_id for place, session_id in enumerate(response.session_ids) if place not in failed]
        if failed:
            await self.ender.end(info.name, ids)
            raise _failure(failed, set())
        rows = self._noted(info.name, response, self._driver.connection)
        return OpenedSessions(rows, ids, info.version, [False] * count, is_named=False, begun=ids)

    async def export(self, info: ModelInfo, session_id: str, deadline: Deadline) -> bytes:
        """A session as bytes."""
        request = sessions_pb2.ExportSessionRequest(model=info.name, session_id=session_id)
        response = await self._transport.call(self._transport.sessions.ExportSession, request, deadline=deadline)
        return response.exported

    async def import_session(self, info: ModelInfo, exported: bytes, session_id: str | None) -> OpenedSessions:
        """Begins a session where an exported one was, under that id or one that the server makes."""
        request = sessions_pb2.ImportSessionRequest(
            model=info.name, session_id=session_id or "", exported=exported, request_id=make_request_id()
        )
        response = await self._transport.call(self._transport.sessions.ImportSession, request)
        for failed in response.errors:
            raise error_of_status(failed.status)
        rows, ids = self._noted(info.name, response, self._driver.connection), list(response.session_ids)
        named = session_id is not None
        return OpenedSessions(rows, ids, response.versions[0], [False], is_named=named, begun=ids)

    async def move(self, info: ModelInfo, opened: OpenedSessions, version: str, deadline: Deadline) -> str:
        """Moves a session to another version, under a new handle; the version."""
        request = sessions_pb2.MoveSessionRequest(model=info.name, session_id=opened.ids[0], version=version)
        response = await self._transport.call(self._transport.sessions.MoveSession, request, deadline=deadline)
        for failed in response.errors:
            raise error_of_status(failed.status)
        table = self._driver.table
        server = table.server_number(response.server_instance)
        table.attach(opened.rows, np.array(response.handles, np.uint64), server, self._driver.connection)
        return response.versions[0]

    async def close(self, model: str, opened: OpenedSessions) -> None:
        """Ends sessions whose ids the server made; lets go of the caller's own."""
        if opened.is_named:
            self._driver.table.release(opened.rows)
        else:
            await self.end(model, opened)

    async def end(self, model: str, opened: OpenedSessions) -> None:
        """Ends sessions; what has ended already, by itself or with its model, is as good."""
        self._driver.table.release(opened.rows)
        try:
            errors = await self.ender.end(model, opened.ids)
        except UnknownModelError:
            return
        for error in errors.values():
            if not isinstance(error, NotFoundError):
                raise error

    def abandon(self, model: str, opened: OpenedSessions) -> None:
        """Lets go of sessions that nobody has got; ends those of them that the opening began."""
        self._driver.table.release(opened.rows)
        self.ender.abandon(model, opened.begun, opened.is_named)

    async def _open(self, requests: list[sessions_pb2.OpenSessionsRequest], is_named: bool) -> OpenedSessions:
        model = requests[0].model
        batches: dict[int, _Batch] = {}
        try:
            await self._ask_all(requests, batches)
        except (ElmanError, asyncio.CancelledError):
            self.ender.abandon(model, _begun(batches), is_named)
            raise
        ordered = [batches[place] for place in range(len(requests))]
        errors = {place: error for place, error in enumerate(itertools.chain(*(b.errors for b in ordered))) if error}
        versions = {version for batch in ordered for version in batch.picked(batch.response.versions)}
        if errors or len(versions) > 1:
            # What this very call began is ended even where the caller named it: nothing is open where it fails.
            await self.ender.end(model, _begun(batches))
            raise _failure(errors, versions)
        self.ender.retry_abandoned(model)
        return OpenedSessions(
            rows=np.concatenate([self._noted(model, batch.response, batch.connection) for batch in ordered]),
            ids=[session_id for batch in ordered for session_id in batch.response.session_ids],
            version=next(iter(versions)),
            resumed=[one for batch in ordered for one in batch.resumed],
            is_named=is_named,
            begun=_begun(batches),
        )

    async def _ask_all(self, requests: list[sessions_pb2.OpenSessionsRequest], batches: dict[int, _Batch]) -> None:
        """Fills in the batches. Those that another server process answered than the last one are asked for again."""
        deadline = self._transport.deadline()
        instance = ""
        for _ in range(_MAX_ROUNDS):
            missing = [
                place
                for place in range(len(requests))
                if place not in batches or batches[place].response.server_instance != instance
            ]
            if not missing:
                return
            for place in missing:
                batches[place] = await self._ask(requests[place], deadline, was_asked=place in batches)
                instance = batches[place].response.server_instance
        raise UnavailableError("the calls reach different servers: sessions need one server")

    async def _ask(self, request: sessions_pb2.OpenSessionsRequest, deadline: Deadline, *, was_asked: bool) -> _Batch:
        """`was_asked`: before, and the answer counts no more, since it was another process's."""
        cuts: list[ElmanError] = []
        response = await self._transport.call(
            self._transport.sessions.OpenSessions, request, deadline=deadline, on_cut=cuts.append
        )
        failed = _failed(response)
        was_cut = was_asked or bool(cuts)
        if was_cut and request.mode == sessions_pb2.OPEN_MODE_NEW:
            await self._resume_begun(request, response, failed, deadline)
        return _Batch(response, failed, was_cut, self._driver.connection)

    async def _resume_begun(
        self,
        request: sessions_pb2.OpenSessionsRequest,
        response: sessions_pb2.OpenSessionsResponse,
        failed: dict[int, ElmanError],
        deadline: Deadline,
    ) -> None:
        """After a cut: ids that exist, untouched, were begun by the try whose answer was lost. They are resumed.

        The server does not say who began a session. Position 0 is the one sign; where it misleads, a session that
        somebody else began and has not stepped changes hands, and no step is lost.
        """
        begun = [
            place for place, error in failed.items() if isinstance(error, SessionExistsError) and error.position == 0
        ]
        if not begun:
            return
        again = sessions_pb2.OpenSessionsRequest(
            model=request.model,
            version=request.version,
            session_ids=[request.session_ids[place] for place in begun],
            mode=sessions_pb2.OPEN_MODE_RESUME,
        )
        resumed = await self._transport.call(self._transport.sessions.OpenSessions, again, deadline=deadline)
        lost = _failed(resumed)
        for number, place in enumerate(begun):
            if number in lost:
                failed[place] = lost[number]
            elif resumed.positions[number] == 0:  # else somebody stepped it meanwhile: it exists, as was told
                del failed[place]
                response.handles[place] = resumed.handles[number]
                response.positions[place] = 0
                response.versions[place] = resumed.versions[number]

    def _noted(
        self,
        model: str,
        response: sessions_pb2.OpenSessionsResponse
        | sessions_pb2.ForkSessionResponse
        | sessions_pb2.ImportSessionResponse,
        connection: int,
    ) -> Index:
        """Numbers in the table for the sessions of an answer that went well; `connection`: which handles are for."""
        table = self._driver.table
        rows = table.add(model, response.session_ids, response.replay_chunks)
        table.begins[rows] = np.array(response.positions, np.int64)
        server = table.server_number(response.server_instance)
        table.attach(rows, np.array(response.handles, np.uint64), server, connection)
        return rows


def _part_of(context: Arrays, first: int, info: ModelInfo) -> list[tensor_pb2.NamedTensor]:
    part = slice(first, first + IDS_PER_CALL)
    return [
        tensor_pb2.NamedTensor(name=one.name, tensor=to_tensor(context[one.name][part], one.wire_dtype))
        for one in info.context
        if one.name in context
    ]


def _states_part(states: Sequence[Array] | None, first: int, info: ModelInfo) -> dict[str, Any]:
    if states is None:
        return {}
    part = [state[:, first : first + IDS_PER_CALL] for state in states]
    if not info.has_stack_state:
        return {"initial_states": name_states(info, part)}
    pairs = zip(("h_0", "c_0"), part, info.states, strict=False)
    return {field: to_tensor(state, one.wire_dtype) for field, state, one in pairs}


def _begun(batches: Mapping[int, _Batch]) -> list[str]:
    return [session_id for place in sorted(batches) for session_id in batches[place].begun]


def _failed(response: sessions_pb2.OpenSessionsResponse) -> dict[int, ElmanError]:
    return {failed.index: error_of_status(failed.status) for failed in response.errors}


def _failure(errors: dict[int, ElmanError], versions: set[str]) -> ElmanError:
    if not errors:
        return UnsupportedError(f"the sessions run on several versions, {', '.join(sorted(versions))}: open them apart")
    return errors[0] if len(errors) == 1 and 0 in errors else RowErrors(errors)
