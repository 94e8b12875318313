"""What waits to be sent, and which of it travels together."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field

from elman._chunk import Chunk
from elman._errors import ElmanError, PredecessorFailedError
from elman._frame import Frame
from elman._sheet import Sheet
from elman._table import SessionTable
from elman._work import FrameKey

MAX_FRAME_ROWS = 4096
"""Most rows of a frame: larger ones gain nothing and hold up their neighbours."""


@dataclass(slots=True)
class _Group:
    """Chunks of distinct sessions and one key."""

    chunks: list[Chunk] = field(default_factory=list)
    num_bytes: int = 0


class Outbox:
    """First in, first out per session; across sessions whatever fits together."""

    def __init__(self, table: SessionTable, max_frame_bytes: int) -> None:
        self._table = table
        self._max_frame_bytes = max_frame_bytes
        self._queue: deque[Chunk | Sheet] = deque()
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, work: Chunk | Sheet) -> None:
        """Adds work whose steps are reserved."""
        self._queue.append(work)

    def gather(self, server: int, is_crowded: bool) -> tuple[list[Frame], set[int]]:
        """Frames to send now, in order, and sessions that have to be attached to `server` first.

        While short frames are under way (`is_crowded`), chunks wait for them and gather, except those of sessions
        that have chunks in flight anyway: no later frame would hold more of them.
        """
        gathering = _Gathering(self._table, server, is_crowded, self._max_frame_bytes)
        queue, self._queue = self._queue, deque()
        for work in queue:
            if work.is_void(self._table):
                work.fail_unsent(self._table, predecessor_failed())
            elif not gathering.add(work):
                self._queue.append(work)
        return gathering.frames(self._numbers), gathering.strangers

    def rebase(self, session: int, begin: int) -> None:
        """The session turned out to be at `begin`: what waits for it goes on from there."""
        for work in self._queue:
            if work.has_session(session) and not work.is_void(self._table):
                begin = work.rebase(session, begin)
        self._table.begins[session] = begin

    def drain(self, session: int | None = None) -> list[Chunk | Sheet]:
        """Takes out all work, or that of one session."""
        queue, self._queue = self._queue, deque()
        taken: list[Chunk | Sheet] = []
        for work in queue:
            (taken if session is None or work.has_session(session) else self._queue).append(work)
        return taken


class _Gathering:
    """One pass over the queue."""

    def __init__(self, table: SessionTable, server: int, is_crowded: bool, max_frame_bytes: int) -> None:
        self.strangers: set[int] = set()
        self._table = table
        self._server = server
        self._is_crowded = is_crowded
        self._max_frame_bytes = max_frame_bytes
        self._taken: dict[int, int] = {}  # session -> chunks taken in this pass
        self._held: set[int] = set()  # sessions with a chunk held back: later ones wait behind it
        self._groups: dict[tuple[int, FrameKey], list[_Group]] = {}
        self._sheets: list[tuple[int, Sheet]] = []

    def add(self, work: Chunk | Sheet) -> bool:
        """Whether it goes now."""
        return self._add_chunk(work) if isinstance(work, Chunk) else self._add_sheet(work)

    def frames(self, numbers: itertools.count[int]) -> list[Frame]:
        """What was taken; a session's first chunk in an earlier frame than its second."""
        ranked = [
            (rank, Frame.of_chunks(next(numbers), group.chunks))
            for (rank, _), groups in self._groups.items()
            for group in groups
        ]
        ranked += [(rank, Frame.of_sheet(next(numbers), sheet)) for rank, sheet in self._sheets]
        ranked.sort(key=lambda item: item[0])
        return [frame for _, frame in ranked]

    def _add_chunk(self, chunk: Chunk) -> bool:
        session, table = chunk.session, self._table
        rank = self._taken.get(session, 0)
        if table.servers.item(session) != self._server:
            self.strangers.add(session)
            return False
        in_flight = table.in_flight.item(session)
        if session in self._held or in_flight >= table.windows.item(session) or (self._is_crowded and not in_flight):
            self._held.add(session)
            return False
        table.in_flight[session] = in_flight + 1
        self._taken[session] = rank + 1
        self._group_for(rank, chunk).chunks.append(chunk)
        return True

    def _group_for(self, rank: int, chunk: Chunk) -> _Group:
        groups = self._groups.setdefault((rank, chunk.key), [])
        size = chunk.input.nbytes
        if groups and len(groups[-1].chunks) < MAX_FRAME_ROWS and groups[-1].num_bytes + size <= self._max_frame_bytes:
            group = groups[-1]
        else:
            group = _Group()
            groups.append(group)
        group.num_bytes += size
        return group

    def _add_sheet(self, sheet: Sheet) -> bool:
        table, sessions = self._table, sheet.sessions
        strange = table.servers[sessions] != self._server
        if strange.any():
            self.strangers.update(sessions[strange].tolist())
            self._held.update(sessions.tolist())
            return False
        numbers = sessions.tolist() if self._held or self._taken else []
        if not self._held.isdisjoint(numbers) or not sheet.has_room(table):
            self._held.update(sessions.tolist())
            return False
        rank = max((self._taken.get(number, 0) for number in numbers), default=0)
        table.in_flight[sessions] += 1
        self._taken.update(dict.fromkeys(sessions.tolist(), rank + 1))
        self._sheets.append((rank, sheet))
        return True


def predecessor_failed() -> ElmanError:
    """For chunks that were not sent because an earlier one failed."""
    return PredecessorFailedError("an earlier chunk of the session failed, so this one was not applied")
