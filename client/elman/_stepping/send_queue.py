"""What waits to be sent.

What comes is looked at once. What cannot go is parked behind its sessions, and looked at again when something of them
has ended, or when fewer frames are under way. So a wake costs what is sent and what has ended, however much waits.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable

from elman._shared.errors import ElmanError, PredecessorFailedError
from elman._stepping.chunks import Chunk, PoolChunk
from elman._stepping.frame import Frame
from elman._stepping.frame_builder import FrameBuilder, Readiness
from elman._stepping.session_table import SessionTable

_Queue = deque[Chunk | PoolChunk]


class SendQueue:
    """First in, first out per session; across sessions whatever fits together."""

    def __init__(self, table: SessionTable, max_frame_bytes: int) -> None:
        self._table = table
        self._max_frame_bytes = max_frame_bytes
        self._fresh: _Queue = deque()  # not looked at yet
        self._parked: dict[int, _Queue] = {}  # by session, never empty; a pool chunk is in those of all its sessions
        self._num_ahead: dict[Chunk | PoolChunk, int] = {}  # of what is parked: sessions where something is before it
        self._ready: dict[int, None] = {}  # sessions whose first is to be looked at, in order
        self._gathers: dict[int, None] = {}  # those whose first waits until fewer frames are under way
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return len(self._fresh) + len(self._num_ahead)

    def put(self, chunk: Chunk | PoolChunk) -> None:
        """Adds a chunk whose steps are reserved."""
        self._fresh.append(chunk)

    def note_ended(self, sessions: Iterable[int]) -> None:
        """Chunks of these sessions have ended: what is parked behind them may go."""
        if self._parked:
            self._ready.update(dict.fromkeys(session for session in sessions if session in self._parked))

    def gather(self, server: int, is_crowded: bool) -> tuple[list[Frame], set[int]]:
        """Frames to send now, in order, and sessions that have to be attached to `server` first.

        While short frames are under way (`is_crowded`), chunks wait for them and gather, except those of sessions
        that have chunks in flight anyway: no later frame would hold more of them.
        """
        builder = FrameBuilder(self._table, server, is_crowded, self._max_frame_bytes)
        if not is_crowded:
            self._ready |= self._gathers
            self._gathers = {}
        has_to_attach = self._look_at_parked(builder)
        fresh, self._fresh = self._fresh, deque()
        for chunk in fresh:
            is_behind = bool(self._parked) and any(session in self._parked for session in chunk.session_numbers())
            readiness = Readiness.WINDOW_IS_FULL if is_behind else self._look_at(chunk, builder)
            if readiness is not Readiness.READY:
                self._park(chunk)
                self._note(chunk, readiness, has_to_attach)
        self._ready |= has_to_attach
        return builder.frames(self._numbers), builder.unattached

    def next_begin(self, session: int) -> int:
        """Where the first chunk that waits for the session begins, or else its next one: all before was applied."""
        for chunk in self._of_session(session):
            if not chunk.follows_failure(self._table):
                return chunk.begin_of(session)
        return self._table.begins.item(session)

    def move_to(self, session: int, begin: int) -> None:
        """The session turned out to be at `begin`: what waits for it goes on from there."""
        for chunk in self._of_session(session):
            if not chunk.follows_failure(self._table):
                begin = chunk.move_to(session, begin)
        self._table.begins[session] = begin

    def drain(self, session: int | None = None) -> list[Chunk | PoolChunk]:
        """Takes out all chunks, or those of one session."""
        taken = list(self._num_ahead) + list(self._fresh) if session is None else self._of_session(session)
        gone = set(taken)
        self._fresh = deque(chunk for chunk in self._fresh if chunk not in gone)
        for chunk in taken:
            if chunk in self._num_ahead:
                self._unpark(chunk)
        return taken

    def _of_session(self, session: int) -> list[Chunk | PoolChunk]:
        return [*self._parked.get(session, ()), *(chunk for chunk in self._fresh if chunk.has_session(session))]

    def _look_at_parked(self, builder: FrameBuilder) -> dict[int, None]:
        """Takes what may go; returns sessions whose first has to be attached."""
        has_to_attach: dict[int, None] = {}
        refused: set[Chunk | PoolChunk] = set()
        while self._ready:
            session = next(iter(self._ready))
            del self._ready[session]
            chunk = self._parked[session][0] if session in self._parked else None
            if chunk is None or chunk in refused or self._num_ahead[chunk]:
                continue
            readiness = self._look_at(chunk, builder)
            if readiness is Readiness.READY:
                self._unpark(chunk)
            else:
                refused.add(chunk)
                self._note(chunk, readiness, has_to_attach)
        return has_to_attach

    def _look_at(self, chunk: Chunk | PoolChunk, builder: FrameBuilder) -> Readiness:
        if not chunk.follows_failure(self._table):
            return builder.add(chunk)
        chunk.fail_unsent(self._table, predecessor_failed())
        return Readiness.READY

    def _note(self, chunk: Chunk | PoolChunk, readiness: Readiness, has_to_attach: dict[int, None]) -> None:
        """When it is looked at again, if not when something of its sessions has ended."""
        first = chunk.session_numbers()[0]
        if readiness is Readiness.NOT_ATTACHED:
            has_to_attach[first] = None
        elif readiness is Readiness.WAITS_TO_GATHER:
            self._gathers[first] = None

    def _park(self, chunk: Chunk | PoolChunk) -> None:
        num_ahead = 0
        for session in chunk.session_numbers():
            queue = self._parked.setdefault(session, deque())
            num_ahead += bool(queue)
            queue.append(chunk)
        self._num_ahead[chunk] = num_ahead

    def _unpark(self, chunk: Chunk | PoolChunk) -> None:
        del self._num_ahead[chunk]
        for session in chunk.session_numbers():
            queue = self._parked[session]
            was_first = queue[0] is chunk
            queue.remove(chunk)
            if not queue:
                del self._parked[session]
            elif was_first:
                self._num_ahead[queue[0]] -= 1
                self._ready[session] = None


def predecessor_failed() -> ElmanError:
    """For chunks that were not sent because an earlier one failed."""
    return PredecessorFailedError("an earlier chunk of the session failed, so this one was not applied")
