"""Attaches sessions again, after a cut: new handles, and positions where they are not known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from elman._shared.errors import ElmanError, ErrorDetails, PositionError
from elman._shared.packed_layout import Index
from elman._shared.retry import NO_RETRY, is_cut
from elman._shared.session_ids import IDS_PER_CALL
from elman._shared.status import error_of_status
from elman._shared.transport import Transport
from elman._stepping.send_queue import SendQueue
from elman._stepping.session_table import SessionTable
from elman.v1 import sessions_pb2

_TIMEOUT_SECONDS = 30.0


class SessionAttacher:
    """Works on the table in batches, model by model."""

    def __init__(self, transport: Transport, table: SessionTable, send_queue: SendQueue) -> None:
        self._transport = transport
        self._table = table
        self._send_queue = send_queue

    async def attach(self, sessions: Iterable[int], connection: int) -> dict[int, ElmanError]:
        """Attaches the sessions and returns those that cannot be. Raises ElmanError if the connection is cut."""
        by_model: dict[str, list[int]] = defaultdict(list)
        for session in sorted(sessions):
            by_model[self._table.models[session]].append(session)
        lost: dict[int, ElmanError] = {}
        for model, numbers in by_model.items():
            for first in range(0, len(numbers), IDS_PER_CALL):
                lost |= await self._attach_batch(model, numbers[first : first + IDS_PER_CALL], connection)
        return lost

    async def _attach_batch(self, model: str, numbers: list[int], connection: int) -> dict[int, ElmanError]:
        request = sessions_pb2.AttachSessionsRequest(
            model=model, session_ids=[self._table.ids[number] for number in numbers]
        )
        method = self._transport.sessions.AttachSessions
        try:
            response = await self._transport.call(method, request, timeout_seconds=_TIMEOUT_SECONDS, retry=NO_RETRY)
        except ElmanError as error:
            if is_cut(error):
                raise
            return dict.fromkeys(numbers, error)  # the model is gone, say
        lost = {numbers[failed.index]: error_of_status(failed.status) for failed in response.errors}
        lost |= {
            number: problem
            for number, position in zip(numbers, response.positions, strict=True)
            if number not in lost and (problem := self._begun_again(number, position))
        }
        good = [place for place, number in enumerate(numbers) if number not in lost]
        self._note(np.array(numbers, np.intp)[good], response, np.array(good, np.intp), connection)
        return lost

    def _begun_again(self, number: int, position: int) -> PositionError | None:
        """What is wrong where a session that is to ask where it goes on has less behind it than was applied here."""
        applied = self._send_queue.next_begin(number)
        if not self._table.position_unknown[number] or position >= applied:
            return None
        metadata = {"position": str(position), "given": str(applied)}
        return PositionError(
            f"session {self._table.ids[number]!r} is at position {position} on the server, and was at {applied} here: "
            "it ended there, and somebody began it again",
            ErrorDetails(metadata=metadata),
        )

    def _note(self, rows: Index, response: sessions_pb2.AttachSessionsResponse, places: Index, connection: int) -> None:
        table = self._table
        server = table.server_number(response.server_instance)
        table.attach(rows, np.array(response.handles, np.uint64)[places], server, connection)
        table.windows[rows] = max(response.replay_chunks, 1)
        positions = np.array(response.positions, np.int64)[places]
        for place in np.flatnonzero(table.position_unknown[rows]).tolist():
            self._send_queue.move_to(rows.item(place), positions.item(place))
        table.position_unknown[rows] = False
