"""Opens, ends and lets go of sessions, many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from elman._calls.open_calls import OpenCalls
from elman._calls.session_ender import SessionEnder
from elman._shared.deadline import Deadline
from elman._shared.errors import (
    ElmanError,
    NotFoundError,
    RowErrors,
    UnknownModelError,
    UnsupportedError,
)
from elman._shared.info import ModelInfo
from elman._shared.packed_layout import Index
from elman._shared.records import Arrays, name_states
from elman._shared.session_ids import IDS_PER_CALL, make_request_id
from elman._shared.status import error_of_status
from elman._shared.transport import Transport
from elman._stepping.driver import Driver
from elman.v1 import sessions_pb2, tensor_pb2
from elman.wire import Array, to_tensor


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
        calls = OpenCalls(requests, self._transport, self._driver)
        try:
            await calls.ask()
        except (ElmanError, asyncio.CancelledError):
            self.ender.abandon(model, calls.begun, is_named)
            raise
        errors, versions = calls.errors, calls.versions
        if errors or len(versions) > 1:
            # What this very call began is ended even where the caller named it: nothing is open where it fails.
            await self.ender.end(model, calls.begun)
            raise _failure(errors, versions)
        self.ender.retry_abandoned(model)
        answers = calls.answers
        return OpenedSessions(
            rows=np.concatenate([self._noted(model, one.response, one.connection) for one in answers]),
            ids=[session_id for one in answers for session_id in one.response.session_ids],
            version=next(iter(versions)),
            resumed=[existed for one in answers for existed in one.resumed],
            is_named=is_named,
            begun=calls.begun,
        )

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


def _failure(errors: dict[int, ElmanError], versions: set[str]) -> ElmanError:
    if not errors:
        return UnsupportedError(f"the sessions run on several versions, {', '.join(sorted(versions))}: open them apart")
    return errors[0] if len(errors) == 1 and 0 in errors else RowErrors(errors)
