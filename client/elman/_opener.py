"""Opens and closes sessions, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from elman._driver import Driver
from elman._errors import ElmanError, NotFoundError, RowErrors, UnsupportedError
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

    async def open_named(self, model: str, version: str, ids: Sequence[str]) -> Opened:
        """Resumes or begins the caller's own sessions."""
        return await self._open(
            [
                sessions_pb2.OpenSessionsRequest(
                    model=model,
                    version=version,
                    session_ids=ids[first : first + _BATCH],
                    mode=sessions_pb2.OPEN_MODE_RESUME_OR_NEW,
                )
                for first in range(0, len(ids), _BATCH)
            ],
            is_named=True,
        )

    async def state(self, model: str, session_id: str) -> State:
        """A session's state as it is now."""
        request = sessions_pb2.DescribeSessionRequest(model=model, session_id=session_id, return_state=True)
        response = await self._transport.call(self._transport.sessions.DescribeSession, request)
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
        for request in requests:
            response = await self._transport.call(self._transport.sessions.OpenSessions, request)
            first = sum(map(len, rows)) + len(errors)
            errors |= {first + failed.index: error_of_status(failed.status) for failed in response.errors}
            bad = {failed.index for failed in response.errors}
            good = [place for place in range(len(response.handles)) if place not in bad]
            rows.append(self._add(request.model, response, good))
            ids += [response.session_ids[place] for place in good]
            versions |= {response.versions[place] for place in good}
        opened = Opened(np.concatenate(rows), ids, next(iter(versions), ""), is_named)
        if errors or len(versions) > 1:
            await self.end(requests[0].model, opened)
            raise _failure(errors, versions)
        return opened

    def _add(self, model: str, response: sessions_pb2.OpenSessionsResponse, places: list[int]) -> Index:
        table = self._driver.table
        rows = table.add(model, [response.session_ids[place] for place in places], response.replay_chunks)
        table.begins[rows] = np.array(response.positions, np.int64)[places]
        handles = np.array(response.handles, np.uint64)[places]
        table.attach(rows, handles, table.server_number(response.server_instance), self._driver.connection)
        return rows

    async def _close(self, model: str, ids: list[str]) -> None:
        for first in range(0, len(ids), _BATCH):
            request = sessions_pb2.CloseSessionsRequest(model=model, session_ids=ids[first : first + _BATCH])
            response = await self._transport.call(self._transport.sessions.CloseSessions, request)
            for failed in response.errors:
                error = error_of_status(failed.status)
                if not isinstance(error, NotFoundError):  # gone already is as good
                    raise error


def _failure(errors: dict[int, ElmanError], versions: set[str]) -> ElmanError:
    if not errors:
        return UnsupportedError(f"the sessions run on several versions, {', '.join(sorted(versions))}: open them apart")
    return errors[0] if len(errors) == 1 and 0 in errors else RowErrors(errors)
