"""What a caller asks for: the next steps of one session, or of many at once, until they are answered."""

from __future__ import annotations

import numpy as np

from elman._shared.deadline import Deadline
from elman._shared.errors import ElmanError
from elman._shared.packed_layout import Index
from elman._stepping.answers import Answer, AnswerFuture, resolve
from elman._stepping.options import FrameKey
from elman._stepping.session_table import SessionTable
from elman.wire import Array


class Chunk:
    """Shares frames with other sessions' chunks of the same key."""

    __slots__ = ("begin", "deadline", "epoch", "future", "input", "key", "length", "session")

    def __init__(self, key: FrameKey, session: int, values: Array, future: AnswerFuture, deadline: Deadline) -> None:
        self.key = key
        self.session = session
        self.input = values  # [length, *features]
        self.length = len(values)
        self.future = future
        self.deadline = deadline
        self.begin = self.epoch = 0

    @property
    def num_steps(self) -> int:
        """Time steps."""
        return self.length

    def reserve(self, table: SessionTable) -> None:
        """Takes the session's next steps."""
        self.begin = table.begins.item(self.session)
        self.epoch = table.epochs.item(self.session)
        table.begins[self.session] = self.begin + self.length
        table.pending[self.session] += 1

    def move_to(self, session: int, begin: int) -> int:
        """Begins at `begin` after all; returns where it ends."""
        self.begin = begin
        return begin + self.length

    def begin_of(self, session: int) -> int:
        """Where the chunk begins."""
        return self.begin

    def follows_failure(self, table: SessionTable) -> bool:
        """Whether an earlier chunk of the session failed."""
        return table.epochs.item(self.session) != self.epoch

    def session_numbers(self) -> list[int]:
        """The session, as a pool chunk has many."""
        return [self.session]

    def has_session(self, session: int) -> bool:
        """Whether the session is this chunk's."""
        return session == self.session

    def fail_unsent(self, table: SessionTable, error: ElmanError) -> None:
        """Gives the steps back and tells the caller why."""
        table.pending[self.session] -= 1
        table.fail(self.session, self.begin, self.epoch, error)
        self.refuse(error)

    def refuse(self, error: ElmanError) -> None:
        """Tells the caller why."""
        resolve(self.future, Answer(errors={0: error}))


class PoolChunk:
    """Rows of a pool's step; sessions are distinct."""

    __slots__ = ("begins", "deadline", "epochs", "future", "input", "key", "lengths", "sessions")

    def __init__(
        self, key: FrameKey, sessions: Index, lengths: Index, values: Array, future: AnswerFuture, deadline: Deadline
    ) -> None:
        self.key = key
        self.sessions = sessions  # [K]
        self.lengths = lengths  # [K], non-increasing
        self.input = values  # [sum(lengths), *features], packed
        self.future = future
        self.deadline = deadline
        self.begins = self.epochs = lengths  # until reserved

    @property
    def num_steps(self) -> int:
        """Time steps of all rows."""
        return int(self.lengths.sum())

    def reserve(self, table: SessionTable) -> None:
        """Takes the sessions' next steps."""
        self.begins = table.begins[self.sessions]
        self.epochs = table.epochs[self.sessions]
        table.begins[self.sessions] = self.begins + self.lengths
        table.pending[self.sessions] += 1

    def move_to(self, session: int, begin: int) -> int:
        """The session's chunk begins at `begin` after all; returns where it ends."""
        row = int(np.flatnonzero(self.sessions == session)[0])
        self.begins[row] = begin
        return begin + int(self.lengths[row])

    def begin_of(self, session: int) -> int:
        """Where the session's chunk begins."""
        return int(self.begins[self.sessions == session][0])

    def follows_failure(self, table: SessionTable) -> bool:
        """Whether an earlier chunk of every session failed; rows of some are told apart in the frame."""
        return bool((table.epochs[self.sessions] != self.epochs).all())

    def has_room(self, table: SessionTable) -> bool:
        """Whether the sessions may have one more chunk in flight."""
        return bool((table.in_flight[self.sessions] < table.windows[self.sessions]).all())

    def session_numbers(self) -> list[int]:
        """The sessions."""
        numbers: list[int] = self.sessions.tolist()
        return numbers

    def has_session(self, session: int) -> bool:
        """Whether the session is in this pool chunk."""
        return bool((self.sessions == session).any())

    def fail_unsent(self, table: SessionTable, error: ElmanError) -> None:
        """Gives the steps back and tells the caller why."""
        table.pending[self.sessions] -= 1
        columns = (self.sessions.tolist(), self.begins.tolist(), self.epochs.tolist())
        for session, begin, epoch in zip(*columns, strict=True):
            table.fail(session, begin, epoch, error)
        self.refuse(error)

    def refuse(self, error: ElmanError) -> None:
        """Tells the caller why."""
        resolve(self.future, Answer(errors=dict.fromkeys(range(len(self.sessions)), error)))


def even_lengths(rows: int, length: int) -> Index:
    """The same length for all rows."""
    return np.full(rows, length, np.intp)
