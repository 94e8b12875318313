"""One look at what waits: which of it goes now, and in which frames."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from enum import Enum

from elman._stepping.chunks import Chunk, PoolChunk
from elman._stepping.frame import Frame
from elman._stepping.options import MAX_FRAME_ROWS, FrameKey
from elman._stepping.session_table import SessionTable


@dataclass(slots=True)
class _Group:
    """Chunks of distinct sessions and one key."""

    chunks: list[Chunk] = field(default_factory=list)
    num_bytes: int = 0


class Readiness(Enum):
    """What becomes of a chunk that is looked at."""

    READY = 0
    NOT_ATTACHED = 1  # its sessions are not known to this server yet
    WAITS_TO_GATHER = 2  # until fewer frames are under way
    WINDOW_IS_FULL = 3  # until something of its sessions has ended


class FrameBuilder:
    """One pass over the queue."""

    def __init__(self, table: SessionTable, server: int, is_crowded: bool, max_frame_bytes: int) -> None:
        self.unattached: set[int] = set()
        self._table = table
        self._server = server
        self._is_crowded = is_crowded
        self._max_frame_bytes = max_frame_bytes
        self._taken: dict[int, int] = {}  # session -> chunks taken in this pass
        self._groups: dict[tuple[int, FrameKey], list[_Group]] = {}
        self._pool_chunks: list[tuple[int, PoolChunk]] = []

    def add(self, chunk: Chunk | PoolChunk) -> Readiness:
        """Whether it goes now, and why not."""
        return self._add_chunk(chunk) if isinstance(chunk, Chunk) else self._add_pool_chunk(chunk)

    def frames(self, numbers: itertools.count[int]) -> list[Frame]:
        """What was taken; a session's first chunk in an earlier frame than its second."""
        ranked = [
            (rank, Frame.of_chunks(next(numbers), group.chunks))
            for (rank, _), groups in self._groups.items()
            for group in groups
        ]
        ranked += [(rank, Frame.of_pool_chunk(next(numbers), pool_chunk)) for rank, pool_chunk in self._pool_chunks]
        ranked.sort(key=lambda item: item[0])
        return [frame for _, frame in ranked]

    def _add_chunk(self, chunk: Chunk) -> Readiness:
        session, table = chunk.session, self._table
        if table.servers.item(session) != self._server:
            self.unattached.add(session)
            return Readiness.NOT_ATTACHED
        in_flight = table.in_flight.item(session)
        if in_flight >= table.windows.item(session):
            return Readiness.WINDOW_IS_FULL
        if self._is_crowded and not in_flight:
            return Readiness.WAITS_TO_GATHER
        rank = self._taken.get(session, 0)
        table.in_flight[session] = in_flight + 1
        self._taken[session] = rank + 1
        self._group_for(rank, chunk).chunks.append(chunk)
        return Readiness.READY

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

    def _add_pool_chunk(self, pool_chunk: PoolChunk) -> Readiness:
        table, sessions = self._table, pool_chunk.sessions
        strange = table.servers[sessions] != self._server
        if strange.any():
            self.unattached.update(sessions[strange].tolist())
            return Readiness.NOT_ATTACHED
        if not pool_chunk.has_room(table):
            return Readiness.WINDOW_IS_FULL
        numbers = pool_chunk.session_numbers()
        rank = max((self._taken.get(number, 0) for number in numbers), default=0) if self._taken else 0
        table.in_flight[sessions] += 1
        self._taken.update(dict.fromkeys(numbers, rank + 1))
        self._pool_chunks.append((rank, pool_chunk))
        return Readiness.READY
