"""Opens and closes sessions, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from elman._deadline import Deadline
from elman._driver import Driver
from elman._errors import ElmanError, NotFoundError, RowErrors, SessionExistsError, UnsupportedError
from elman._info import ModelInfo
from elman._packed import Index
from elman._result import State
from elman._status import error_of_status
from elman._transport import Transport
from elman.v1 import sessions_pb2
from elman.wire import from_tensor

_BATCH = 8192


@dataclass(frozen=True)
class Opened:
    """Sessions of one model version, known to the table."""

    rows: Index  # numbers in the table
    ids: list[str]
    version: str
    is_named: bool  # under ids that the caller chose: detached, not closed


class Opener:
    """Keeps the table's rows and the server's sessions in step."""

    def __init__(self, transport: Transport, driver: Driver) -> None:
        self._transport = transport
        self._driver = driver

    async def open_new(self, info: ModelInfo, count: int) -> Opened:
        """Begins sessions under ids that the server makes."""
        sizes = [min(_BATCH, count - first) for first in range(0, count, _BATCH)]
        return await self._open(
            [
                sessions_pb2.OpenSessionsRequest(
                    model=info.name, version=info.version, count=size, mode=sessions_pb2.OPEN_MODE_NEW
                )
                for size in sizes
            ],
            is_named=False,
        )

    async def open_named(self, model: str, version: str, ids: Sequence[str], is_new: bool) -> Opened:
        """Resumes or begins the caller's own sessions; begins all of them where they are to be new."""
        mode = sessions_pb2.OPEN_MODE_NEW if is_new else sessions_pb2.OPEN_MODE_RESUME_OR_NEW
        return await self._open(
            [
                sessions_pb2.OpenSessionsRequest(
                    model=model,
                    version=version,
                    session_ids=ids[first : first + _BATCH],
                    mode=mode,
                )
                for first in range(0, len(ids), _BATCH)
            ],
            is_named=True,
        )

    async def state(self, model: str, session_id: str, deadline: Deadline | None = None) -> State:
        """A session's state as it is now."""
        request = sessions_pb2.DescribeSessionRequest(model=model, session_id=session_id, return_state=True)
        response = await self._transport.call(self._transport.sessions.DescribeSession, request, deadline=deadline)
        c_n = from_tensor(response.c_n, name="c_n").copy() if response.HasField("c_n") else None
        return State(from_tensor(response.h_n, name="h_n").copy(), c_n, response.session.position)

    async def end(self, model: str, opened: Opened) -> None:
        """Closes sessions whose ids the server made; forgets the caller's own."""
        self._driver.table.release(opened.rows)
        if not opened.is_named:
            await self._close(model, opened.ids)

    async def _open(self, requests: list[sessions_pb2.OpenSessionsRequest], is_named: bool) -> Opened:
        rows: list[Index] = []
        ids: list[str] = []
        versions: set[str] = set()
        errors: dict[int, ElmanError] = {}
        deadline = self._transport.deadline()
        for request in requests:
            response, failed = await self._ask(request, deadline)
            first = sum(map(len, rows)) + len(errors)
            errors |= {first + place: error for place, error in failed.items()}
            good = [place for place in range(len(response.handles)) if place not in failed]
            rows.append(self._add(request.model, response, good))
            ids += [response.session_ids[place] for place in good]
            versions |= {response.versions[place] for place in good}
        opened = Opened(np.concatenate(rows), ids, next(iter(versions), ""), is_named)
        if errors or len(versions) > 1:
            # What this very call began is ended even where the caller named it: else it could not be asked for again.
            is_kept = requests[0].mode != sessions_pb2.OPEN_MODE_NEW
            await self.end(requests[0].model, replace(opened, is_named=is_kept))
            raise _failure(errors, versions)
        return opened

    async def _ask(
        self, request: sessions_pb2.OpenSessionsRequest, deadline: Deadline
    ) -> tuple[sessions_pb2.OpenSessionsResponse, dict[int, ElmanError]]:
        """One batch: the answer, and what failed by its place in it."""
        cuts: list[ElmanError] = []
        response = await self._transport.call(
            self._transport.sessions.OpenSessions, request, deadline=deadline, on_cut=cuts.append
        )
        failed = _failed(response)
        if cuts and request.mode == sessions_pb2.OPEN_MODE_NEW:
            await self._resume_begun(request, response, failed, deadline)
        return response, failed

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

    def _add(self, model: str, response: sessions_pb2.OpenSessionsResponse, places: list[int]) -> Index:
        table = self._driver.table
        rows = table.add(model, [response.session_ids[place] for place in places], response.replay_chunks)
        table.begins[rows] = np.array(response.positions, np.int64)[places]
        handles = np.array(response.handles, np.uint64)[places]
        table.attach(rows, handles, table.server_number(response.server_instance), self._driver.connection)
        return rows

    async def _close(self, model: str, ids: list[str]) -> None:
        deadline = self._transport.deadline()
        for first in range(0, len(ids), _BATCH):
            request = sessions_pb2.CloseSessionsRequest(model=model, session_ids=ids[first : first + _BATCH])
            response = await self._transport.call(self._transport.sessions.CloseSessions, request, deadline=deadline)
            for failed in response.errors:
                error = error_of_status(failed.status)
                if not isinstance(error, NotFoundError):  # gone already is as good
                    raise error


def _failed(response: sessions_pb2.OpenSessionsResponse) -> dict[int, ElmanError]:
    return {failed.index: error_of_status(failed.status) for failed in response.errors}


def _failure(errors: dict[int, ElmanError], versions: set[str]) -> ElmanError:
    if not errors:
        return UnsupportedError(f"the sessions run on several versions, {', '.join(sorted(versions))}: open them apart")
    return errors[0] if len(errors) == 1 and 0 in errors else RowErrors(errors)
