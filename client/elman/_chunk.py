"""The next steps of one session, asked for by one caller."""

from __future__ import annotations

from elman._shared.deadline import Deadline
from elman._shared.errors import ElmanError
from elman._stepping.options import FrameKey
from elman._table import SessionTable
from elman._work import Answer, AnswerFuture, resolve
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

    def rebase(self, session: int, begin: int) -> int:
        """Begins at `begin` after all; returns where it ends."""
        self.begin = begin
        return begin + self.length

    def begin_of(self, session: int) -> int:
        """Where the chunk begins."""
        return self.begin

    def is_void(self, table: SessionTable) -> bool:
        """Whether an earlier chunk of the session failed."""
        return table.epochs.item(self.session) != self.epoch

    def session_numbers(self) -> list[int]:
        """The session, as a sheet has many."""
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
