"""Opens, ends and lets go of sessions, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from elman._shared.deadline import Deadline
from elman._shared.errors import (
    ElmanError,
    NotFoundError,
    RowErrors,
    SessionExistsError,
    UnknownModelError,
    UnknownSessionError,
    UnsupportedError,
)
from elman._shared.info import ModelInfo
from elman._shared.packed_layout import Index
from elman._shared.results import State
from elman._shared.session_ids import IDS_PER_CALL
from elman._shared.status import error_of_status
from elman._shared.transport import Transport
from elman._stepping.driver import Driver
from elman.v1 import sessions_pb2
from elman.wire import from_tensor


@dataclass(frozen=True)
class OpenedSessions:
    """Sessions of one model version, known to the table."""

    rows: Index  # numbers in the table
    ids: list[str]
    version: str
    resumed: list[bool]  # whether each existed before
    is_named: bool  # under ids that the caller chose: kept when they are closed


class SessionOpener:
    """Keeps the table's rows and the server's sessions in step."""

    def __init__(self, transport: Transport, driver: Driver) -> None:
        self._transport = transport
        self._driver = driver

    async def open_new(self, info: ModelInfo, count: int) -> OpenedSessions:
        """Begins sessions under ids that the server makes."""
        sizes = [min(IDS_PER_CALL, count - first) for first in range(0, count, IDS_PER_CALL)]
        return await self._open(
            [
                sessions_pb2.OpenSessionsRequest(
                    model=info.name, version=info.version, count=size, mode=sessions_pb2.OPEN_MODE_NEW
                )
                for size in sizes
            ],
            is_named=False,
        )

    async def open_named(
        self, model: str, version: str, ids: Sequence[str], mode: sessions_pb2.OpenMode.ValueType
    ) -> OpenedSessions:
        """Resumes or begins the caller's own sessions."""
        return await self._open(
            [
                sessions_pb2.OpenSessionsRequest(
                    model=model,
                    version=version,
                    session_ids=ids[first : first + IDS_PER_CALL],
                    mode=mode,
                )
                for first in range(0, len(ids), IDS_PER_CALL)
            ],
            is_named=True,
        )

    async def state(self, model: str, session_id: str, deadline: Deadline | None = None) -> State:
        """A session's state as it is now."""
        request = sessions_pb2.DescribeSessionRequest(model=model, session_id=session_id, return_state=True)
        response = await self._transport.call(self._transport.sessions.DescribeSession, request, deadline=deadline)
        c_n = from_tensor(response.c_n, name="c_n").copy() if response.HasField("c_n") else None
        return State(from_tensor(response.h_n, name="h_n").copy(), c_n, response.session.position)

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
            errors = await self.end_ids(model, opened.ids)
        except UnknownModelError:
            return
        for error in errors.values():
            if not isinstance(error, NotFoundError):
                raise error

    async def end_ids(self, model: str, ids: Sequence[str]) -> dict[int, ElmanError]:
        """Ends sessions by id; returns what failed, by place."""
        deadline = self._transport.deadline()
        errors: dict[int, ElmanError] = {}
        for first in range(0, len(ids), IDS_PER_CALL):
            cuts: list[ElmanError] = []
            request = sessions_pb2.CloseSessionsRequest(model=model, session_ids=ids[first : first + IDS_PER_CALL])
            method = self._transport.sessions.CloseSessions
            response = await self._transport.call(method, request, deadline=deadline, on_cut=cuts.append)
            for failed in response.errors:
                error = error_of_status(failed.status)
                if not (cuts and isinstance(error, UnknownSessionError)):  # else the try that was cut ended it
                    errors[first + failed.index] = error
        return errors

    async def _open(self, requests: list[sessions_pb2.OpenSessionsRequest], is_named: bool) -> OpenedSessions:
        model, deadline = requests[0].model, self._transport.deadline()
        opened = OpenedSessions(np.empty(0, np.intp), [], "", [], is_named)
        begun: list[str] = []
        errors: dict[int, ElmanError] = {}
        versions: set[str] = set()
        for request in requests:
            response, failed, was_cut = await self._ask(request, deadline)
            first = len(opened.ids) + len(errors)
            errors |= {first + place: error for place, error in failed.items()}
            good = [place for place in range(len(response.handles)) if place not in failed]
            begun += [response.session_ids[place] for place in good if not response.resumed[place]]
            versions |= {response.versions[place] for place in good}
            opened = self._with(opened, model, response, good, was_cut)
        if errors or len(versions) > 1:
            # What this very call began is ended even where the caller named it: nothing is open where it fails.
            self._driver.table.release(opened.rows)
            await self.end_ids(model, begun)
            raise _failure(errors, versions)
        return opened

    async def _ask(
        self, request: sessions_pb2.OpenSessionsRequest, deadline: Deadline
    ) -> tuple[sessions_pb2.OpenSessionsResponse, dict[int, ElmanError], bool]:
        """One batch: the answer, what failed by its place in it, and whether a try of it was cut."""
        cuts: list[ElmanError] = []
        response = await self._transport.call(
            self._transport.sessions.OpenSessions, request, deadline=deadline, on_cut=cuts.append
        )
        failed = _failed(response)
        if cuts and request.mode == sessions_pb2.OPEN_MODE_NEW:
            await self._resume_begun(request, response, failed, deadline)
        return response, failed, bool(cuts)

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

    def _with(
        self,
        opened: OpenedSessions,
        model: str,
        response: sessions_pb2.OpenSessionsResponse,
        places: list[int],
        was_cut: bool,
    ) -> OpenedSessions:
        """What was opened before, and of the answer those at `places`, which the table knows from now on."""
        table = self._driver.table
        ids = [response.session_ids[place] for place in places]
        rows = table.add(model, ids, response.replay_chunks)
        positions = np.array(response.positions, np.int64)[places]
        table.begins[rows] = positions
        handles = np.array(response.handles, np.uint64)[places]
        table.attach(rows, handles, table.server_number(response.server_instance), self._driver.connection)
        resumed = [response.resumed[place] for place in places]
        if was_cut:  # an untouched one was begun by the try whose answer was lost
            resumed = [one and position > 0 for one, position in zip(resumed, positions.tolist(), strict=True)]
        return replace(
            opened,
            rows=np.concatenate((opened.rows, rows)),
            ids=opened.ids + ids,
            version=next((response.versions[place] for place in places), opened.version),
            resumed=opened.resumed + resumed,
        )


def _failed(response: sessions_pb2.OpenSessionsResponse) -> dict[int, ElmanError]:
    return {failed.index: error_of_status(failed.status) for failed in response.errors}


def _failure(errors: dict[int, ElmanError], versions: set[str]) -> ElmanError:
    if not errors:
        return UnsupportedError(f"the sessions run on several versions, {', '.join(sorted(versions))}: open them apart")
    return errors[0] if len(errors) == 1 and 0 in errors else RowErrors(errors)
