"""Room 3, sessions: an id becomes a slot; admission, ownership, positions, expiry. One model version's slots."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_server.exchange.session_calls.calls import Owner
from elman_server.sessions.handles import HandleKey, slots_of
from elman_server.tables.jit import jit

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]
Flags = NDArray[np.bool_]
Table = NDArray[Any]

SLOTS_AT_ONCE = 1024
"""A block: looked through at a time for the sessions of a page, and not at all where it has none."""


SESSION = np.dtype(
    [
        ("position", np.int64),  # time steps applied
        ("admitted", np.int64),  # time steps applied or queued
        ("handle", np.uint64),  # the good one, where attached
        ("count", np.int64),  # attachments of the slot
        ("created", np.float64),  # seconds on the engine's clock
        ("used", np.float64),  # seconds on the engine's clock: last step taken in or done, open or attach
        ("attached", np.bool_),
        ("broken", np.bool_),  # a chunk failed: the next must name its position
        ("closing", np.bool_),  # ends when its last queued chunk has
    ],
    align=True,
)


class Sessions:
    """A record per slot. Slots above those of sessions are lent to rows of `Infer`; all are one pool."""

    def __init__(self, number: int, key: HandleKey, max_sessions: int, num_borrowed: int) -> None:
        """`number`: of the model version among those of the process; it is a part of every handle."""
        num_slots = max_sessions + num_borrowed
        self.max_sessions = max_sessions
        self.num_open = 0
        self.table: Table = np.zeros(num_slots, SESSION)
        self.table["count"] = key.first_count
        self.position: I64 = self.table["position"]
        self.admitted: I64 = self.table["admitted"]
        self.broken: Flags = self.table["broken"]
        self.closing: Flags = self.table["closing"]
        self.created: F64 = self.table["created"]
        self.used: F64 = self.table["used"]
        self.ends_with_stream: Flags = np.zeros(num_slots, np.bool_)
        """Which sessions end with the stream that drives them."""
        self.num_ending = 0
        """How many of them there are."""
        # Two lists of strings: a tuple for each session took a quarter of what a million have beside their state.
        self._principals: list[str] = [""] * num_slots
        self._ids: list[str | None] = [None] * num_slots  # None: nobody's
        self._num_in_block = [0] * (num_slots // SLOTS_AT_ONCE + 1)  # sessions
        self._number = number
        self.key = key
        self._count: I64 = self.table["count"]
        self._handle: U64 = self.table["handle"]
        self._attached: Flags = self.table["attached"]
        self._free = np.arange(num_slots - 1, -1, -1, dtype=np.int64)
        self._num_free = num_slots

    @property
    def num_slots(self) -> int:
        """Sessions' slots and those lent to `Infer`."""
        return len(self._free)

    @property
    def num_free(self) -> int:
        """Slots that nobody has."""
        return self._num_free

    def take(self, count: int, now: float) -> I64:
        """[count] free slots, at position 0; `count` is at most `num_free`."""
        if count > self._num_free:
            raise OverflowError(f"{count} slots asked for, {self._num_free} free")
        slots = self._free[self._num_free - count : self._num_free][::-1].copy()
        self._num_free -= count
        self.position[slots] = self.admitted[slots] = 0
        self.broken[slots] = self.closing[slots] = False
        self.created[slots] = self.used[slots] = now
        return slots

    def own(self, slots: I64, principal: str, ids: list[str]) -> None:
        """Makes taken slots sessions."""
        for slot, session_id in zip(slots.tolist(), ids, strict=True):
            self._principals[slot], self._ids[slot] = principal, session_id
            self._num_in_block[slot // SLOTS_AT_ONCE] += 1
        self.num_open += len(ids)

    def owner(self, slot: int) -> Owner | None:
        """Whose it is; None for a slot that is free or lent."""
        session_id = self._ids[slot]
        return None if session_id is None else Owner(self._principals[slot], session_id)

    def free(self, slots: I64) -> None:
        """Gives slots back; their handles are stale from now on."""
        for slot in slots.tolist():
            if self._ids[slot] is not None:
                self.num_open -= 1
                self._num_in_block[slot // SLOTS_AT_ONCE] -= 1
            self._principals[slot], self._ids[slot] = "", None
        self._attached[slots] = False
        if self.num_ending:
            self.set_ending(slots, False)
        self._free[self._num_free : self._num_free + len(slots)] = slots
        self._num_free += len(slots)

    def set_ending(self, slots: I64, value: bool) -> None:
        """Whether these sessions end with the stream that drives them."""
        self.num_ending += value * len(slots) - int(np.count_nonzero(self.ends_with_stream[slots]))
        self.ends_with_stream[slots] = value

    def driven(self, handles: U64) -> U64:
        """[n] those of the handles that are good, of sessions that end with the stream that drives them."""
        return handles[self._are_ending(handles)]

    def ending(self, handles: U64) -> I64:
        """[n] the slots of those."""
        return find(self.driven(handles), self.key.rounds, self.table)

    def _are_ending(self, handles: U64) -> Flags:
        slots = find(handles, self.key.rounds, self.table)
        are_ending: Flags = (slots >= 0) & self.ends_with_stream[np.maximum(slots, 0)]
        return are_ending

    def attach(self, slots: I64, now: float) -> U64:
        """[n] new handles; older ones of the same sessions become stale. A broken session may go on."""
        self._count[slots] += 1
        self._handle[slots] = self.key.pack(self._number, slots, self._count[slots])
        self._attached[slots] = True
        self.broken[slots] = False
        self.used[slots] = now
        return self._handle[slots]

    def slots(self, handles: U64) -> I64:
        """[n] the slots of handles that are good, or -1."""
        return find(handles, self.key.rounds, self.table)

    def handle(self, slot: int) -> int:
        """The slot's newest handle."""
        return int(self._handle[slot])

    def are_attached(self, slots: I64) -> Flags:
        """[n] which slots are sessions'."""
        attached: Flags = self._attached[slots]
        return attached

    def everyone(self) -> I64:
        """All sessions' slots."""
        return np.flatnonzero(self._attached)

    def idle_since(self, before: float, busy: Flags) -> I64:
        """Sessions not used since `before`, in seconds on the engine's clock; `busy` [num_slots] are never idle."""
        return np.flatnonzero((self.used <= before) & self._attached & ~busy)

    def earliest_use(self, now: float) -> float:
        """The oldest last use of a session, in seconds on the engine's clock; `now` without sessions."""
        return float(self.used[self._attached].min(initial=now))

    def least_recent(self, count: int, busy: Flags) -> I64:
        """At most `count` sessions that are not `busy`, those longest unused first."""
        idle = np.flatnonzero(self._attached & ~busy)
        if len(idle) > count:
            idle = idle[np.argpartition(self.used[idle], count)[:count]]
        return idle[np.argsort(self.used[idle], kind="stable")]

    def page(self, principal: str, first: int, count: int) -> tuple[list[int], int | None]:
        """At most `count` slots of the principal's sessions from slot `first` on, and from where to go on, None where
        there are no more. They are fewer, and there may be more, where many others' lie between."""
        found: list[int] = []
        for looked_at, slot in enumerate(self._attached_from(first)):
            if len(found) == count or looked_at == SLOTS_AT_ONCE:
                return found, slot
            if self._principals[slot] == principal:
                found.append(slot)
        return found, None

    def _attached_from(self, first: int) -> Iterator[int]:
        # Looked for block by block: who wants a few is not to pay for all that follow.
        for number in range(first // SLOTS_AT_ONCE, len(self._num_in_block)):
            if self._num_in_block[number]:
                begin = max(first, number * SLOTS_AT_ONCE)
                block = self._attached[begin : (number + 1) * SLOTS_AT_ONCE]
                yield from (np.flatnonzero(block) + begin).tolist()


@jit
def find(handles: U64, rounds: NDArray[np.uint32], sessions: Table) -> I64:
    """[n] the slot of each handle that is good now, or -1. `rounds`: `HandleKey.rounds`."""
    slots = slots_of(handles, rounds)
    for i, slot in enumerate(slots):
        if slot >= len(sessions):
            slots[i] = -1
            continue
        session = sessions[slot]
        if session.handle != handles[i] or not session.attached or session.closing:
            slots[i] = -1
    return slots
