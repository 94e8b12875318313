"""The calls that one opening of many sessions takes, and what came of each, over cuts and restarts of the server."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from elman._shared.deadline import Deadline
from elman._shared.errors import ElmanError, SessionExistsError, UnavailableError
from elman._shared.status import error_of_status
from elman._shared.transport import Transport
from elman._stepping.driver import Driver
from elman.v1 import sessions_pb2

ColumnT = TypeVar("ColumnT")
_MAX_ROUNDS = 4


@dataclass(frozen=True)
class OpenAnswer:
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


class OpenCalls:
    """All calls of one opening; each session that they began is known by its id, also where a call fails."""

    def __init__(
        self, requests: Sequence[sessions_pb2.OpenSessionsRequest], transport: Transport, driver: Driver
    ) -> None:
        self._requests = requests
        self._transport = transport
        self._driver = driver
        self._answers: dict[int, OpenAnswer] = {}

    @property
    def answers(self) -> list[OpenAnswer]:
        """Those that came, in the calls' order."""
        return [self._answers[place] for place in sorted(self._answers)]

    @property
    def errors(self) -> dict[int, ElmanError]:
        """By place among all sessions."""
        errors = itertools.chain(*(answer.errors for answer in self.answers))
        return {place: error for place, error in enumerate(errors) if error}

    @property
    def versions(self) -> set[str]:
        """On which the sessions run."""
        return {version for answer in self.answers for version in answer.picked(answer.response.versions)}

    @property
    def begun(self) -> list[str]:
        """Ids that did not exist before."""
        return [session_id for answer in self.answers for session_id in answer.begun]

    async def ask(self) -> None:
        """Has them all answered. Those that another server process answered than the last one are asked again.

        Raises ElmanError; what was answered before counts.
        """
        requests, answers = self._requests, self._answers
        deadline = self._transport.deadline()
        instance = ""
        for _ in range(_MAX_ROUNDS):
            missing = [
                place
                for place in range(len(requests))
                if place not in answers or answers[place].response.server_instance != instance
            ]
            if not missing:
                return
            for place in missing:
                answers[place] = await self._ask(requests[place], deadline, was_asked=place in answers)
                instance = answers[place].response.server_instance
        raise UnavailableError("the calls reach different servers: sessions need one server")

    async def _ask(
        self, request: sessions_pb2.OpenSessionsRequest, deadline: Deadline, *, was_asked: bool
    ) -> OpenAnswer:
        """`was_asked`: before, and the answer counts no more, since it was another process's."""
        cuts: list[ElmanError] = []
        response = await self._transport.call(
            self._transport.sessions.OpenSessions, request, deadline=deadline, on_cut=cuts.append
        )
        failed = _failed(response)
        was_cut = was_asked or bool(cuts)
        if was_cut and request.mode == sessions_pb2.OPEN_MODE_NEW:
            await self._resume_begun(request, response, failed, deadline)
        return OpenAnswer(response, failed, was_cut, self._driver.connection)

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


def _failed(response: sessions_pb2.OpenSessionsResponse) -> dict[int, ElmanError]:
    return {failed.index: error_of_status(failed.status) for failed in response.errors}
