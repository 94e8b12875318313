"""Marks: copies of sessions' states to return to, within a number for each session and a limit of bytes for all."""

from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from elman_server.errors import LimitReached, UnknownMark
from elman_server.exchange.session_calls.calls import Owner

I64 = NDArray[np.int64]
StateT = TypeVar("StateT")


class Mark(NamedTuple, Generic[StateT]):
    """Where a session was."""

    position: int
    """Time steps applied."""
    state: StateT
    """Of that one row, its context with it."""


class Marks(Generic[StateT]):
    """Of one model version's sessions, by slot and name. They have one size: that of a session's state."""

    def __init__(self, max_marks: int, max_bytes: int, mark_bytes: int) -> None:
        """`max_marks` of a session, `max_bytes` of all; `mark_bytes` of one."""
        self._max_marks = max_marks
        self._max_bytes = max_bytes
        self._mark_bytes = mark_bytes
        self._by_slot: dict[int, dict[str, Mark[StateT]]] = {}
        self._count = 0

    @property
    def num_bytes(self) -> int:
        """Of all."""
        return self._count * self._mark_bytes

    def check_room(self, slot: int, name: str) -> None:
        """Raises LimitReached where one more under that name does not fit. Waiting does not help: they stay."""
        there = self._by_slot.get(slot, {})
        if name in there:
            return
        error = LimitReached.first(
            ("max_marks", self._max_marks, len(there), 1),
            ("max_mark_bytes", self._max_bytes, self.num_bytes, self._mark_bytes),
        )
        if error:
            limit, value = error.metadata["limit"], error.metadata["value"]
            what = f"the session has {len(there)}" if limit == "max_marks" else f"all take {self.num_bytes}"
            raise LimitReached(f"{limit} is {value}, and {what}; drop some", metadata=error.metadata)

    def put(self, slot: int, name: str, mark: Mark[StateT]) -> None:
        """Keeps a mark, in place of one of that name."""
        there = self._by_slot.setdefault(slot, {})
        self._count += name not in there
        there[name] = mark

    def get(self, owner: Owner, slot: int, name: str) -> Mark[StateT]:
        """The mark of that name.

        Raises:
            UnknownMark: the session has none such.
        """
        there = self._by_slot.get(slot, {})
        if name not in there:
            known = ", ".join(map(repr, there)) or "none"
            raise UnknownMark(
                f"session {owner.session_id!r} has no mark {name!r}; there are: {known}",
                metadata={"session_id": owner.session_id, "mark": name},
            )
        return there[name]

    def of(self, slot: int) -> dict[str, Mark[StateT]]:
        """A session's marks by name."""
        return dict(self._by_slot.get(slot, {}))

    def positions(self, slot: int) -> dict[str, int]:
        """Of a session's marks, in the order in which they were first made."""
        return {name: mark.position for name, mark in self._by_slot.get(slot, {}).items()}

    def drop(self, slot: int, names: list[str]) -> None:
        """Lets go of marks that are there."""
        for name in names:
            del self._by_slot[slot][name]
        self._count -= len(names)

    def forget(self, slots: I64) -> None:
        """Lets go of all marks of sessions that end."""
        if self._by_slot:
            for slot in slots.tolist():
                self._count -= len(self._by_slot.pop(slot, ()))
