"""Ends sessions by id: those that a caller names, and those that an opening has begun which then failed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from elman._shared.errors import ElmanError, UnknownSessionError
from elman._shared.retry import NO_RETRY
from elman._shared.session_ids import IDS_PER_CALL
from elman._shared.status import error_of_status
from elman._shared.transport import Transport
from elman.v1 import sessions_pb2

_ABANDONED_TIMEOUT_SECONDS = 30.0


class SessionEnder:
    """Belongs to one event loop; every method is called there."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._abandoned: dict[str, list[str]] = defaultdict(list)  # by model, what could not be ended
        self._tasks: set[asyncio.Task[None]] = set()

    async def end(self, model: str, ids: Sequence[str]) -> dict[int, ElmanError]:
        """Ends sessions; returns what failed, by place. Raises ElmanError."""
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

    def abandon(self, model: str, ids: Sequence[str], is_named: bool) -> None:
        """Ends sessions that nobody has got, as far as the server can be reached, while the caller goes on.

        Those under ids that the server made are tried again after the next opening that goes well. A name may be
        somebody else's session by then: those are tried this once, and expire otherwise.
        """
        if ids:
            task = asyncio.get_running_loop().create_task(self._end_abandoned(model, list(ids), is_named))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def retry_abandoned(self, model: str) -> None:
        """The server can be reached: ends what could not be ended before."""
        self.abandon(model, self._abandoned.pop(model, ()), is_named=False)

    async def _end_abandoned(self, model: str, ids: list[str], is_named: bool) -> None:
        for first in range(0, len(ids), IDS_PER_CALL):
            request = sessions_pb2.CloseSessionsRequest(model=model, session_ids=ids[first : first + IDS_PER_CALL])
            method, timeout_seconds = self._transport.sessions.CloseSessions, _ABANDONED_TIMEOUT_SECONDS
            try:
                await self._transport.call(method, request, timeout_seconds=timeout_seconds, retry=NO_RETRY)
            except ElmanError:
                if not is_named:
                    self._abandoned[model] += ids[first:]
                return
