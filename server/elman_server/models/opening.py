"""An opening: the sessions that one call begins, resumes or moves, and what it is told of each."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from elman_server.errors import InvalidInput, LimitReached
from elman_server.exchange.initial import Initial
from elman_server.exchange.session_calls.calls import OpenResult, Owner
from elman_server.models.runtime import Runtime
from elman_server.sessions.places import Places
from elman_server.sessions.tombstones import Tombstones

I64 = NDArray[np.int64]

FULL_RETRY_SECONDS = 1.0
"""What a caller refused at the session limit is told to wait: sessions end by the second, not by the step."""


class Opening:
    """Of one principal's ids, at one time on the engine's clock; used by the engine's thread alone."""

    def __init__(self, principal: str, ids: Sequence[str], now: float, places: Places, tombstones: Tombstones) -> None:
        self.result = OpenResult.empty(ids)
        self.new: list[int] = []
        """Indices of the ids that are to begin, in their order."""
        self._principal = principal
        self._now = now
        self._places = places
        self._tombstones = tombstones

    def resume(self, runtime: Runtime, found: Sequence[tuple[int, int]], initial: Initial) -> I64:
        """Attaches sessions that run on a version, by index and slot; the slots of those whose context is the one that
        is given, if one is. The others are told."""
        if initial.context:
            found = self._of_that_context(runtime, found, initial)
        for index, _ in found:
            self.result.resumed[index] = True
        slots = np.array([slot for _, slot in found], np.int64)
        if found:
            self.attach(runtime, [index for index, _ in found], slots)
        return slots

    def begin(self, runtime: Runtime, initial: Initial, position: int | I64) -> I64:
        """Begins the new sessions with rows of `initial` [len(ids), ...] at a position, of all or [len(ids)] of each,
        and attaches them; the slots of those that there is room for."""
        slots = self.take(runtime)
        indices = self.new[: len(slots)]
        if indices:
            runtime.begin(slots, initial.of(indices))
            at = position if isinstance(position, int) else position[indices]
            runtime.sessions.position[slots] = runtime.sessions.admitted[slots] = at
            self.attach(runtime, indices, slots)
        return slots

    def fork(self, runtime: Runtime, slot: int) -> None:
        """Begins the new sessions that there is room for where the one in that slot is, and attaches them."""
        slots = self.take(runtime)
        if slots.size:
            runtime.fork(slot, slots)
            runtime.sessions.set_ending(slots, bool(runtime.sessions.ends_with_stream[slot]))
            self.attach(runtime, self.new[: len(slots)], slots)

    def take(self, runtime: Runtime) -> I64:
        """Slots for as many of the new sessions as there is room for, the first ones; the others are told."""
        room = runtime.sessions.max_sessions - runtime.sessions.num_open
        indices, ids = self.new[:room], self.result.ids
        self.result.errors.update(dict.fromkeys(self.new[room:], full(runtime)))
        if not indices:
            return np.empty(0, np.int64)
        slots = runtime.sessions.take(len(indices), self._now)
        taken = [ids[index] for index in indices]
        runtime.sessions.own(slots, self._principal, taken)
        self._places.put(self._principal, taken, runtime.number, slots.tolist())
        for session_id in taken:
            self._tombstones.lift(Owner(self._principal, session_id))
        runtime.metrics.sessions_opened.inc(len(indices))
        return slots

    def attach(self, runtime: Runtime, indices: Sequence[int], slots: I64) -> None:
        """Gives new handles to the sessions in these slots, and tells them for the ids at these indices."""
        result = self.result
        handles = runtime.sessions.attach(slots, self._now).tolist()
        positions = runtime.sessions.admitted[slots].tolist()
        for index, handle, position in zip(indices, handles, positions, strict=True):
            result.handles[index], result.positions[index] = handle, position
            result.versions[index] = runtime.spec.version

    def _of_that_context(
        self, runtime: Runtime, found: Sequence[tuple[int, int]], initial: Initial
    ) -> list[tuple[int, int]]:
        same, there = [], runtime.context_of(np.array([slot for _, slot in found]))
        for row, (index, slot) in enumerate(found):
            given = initial.context_of([index])
            if set(given) == set(there) and all((given[n][0] == there[n][row]).all() for n in there):
                same.append((index, slot))
            else:
                self.result.errors[index] = InvalidInput(
                    f"session {self.result.ids[index]!r} runs with another context than the one given; it stays as it "
                    "was when the session began: give that, or choose another id"
                )
        return same


def full(runtime: Runtime) -> LimitReached:
    """What is told where there is no room for a session."""
    limit, value = runtime.sessions_limit, runtime.sessions.max_sessions
    return LimitReached(
        f"{limit} is {value}, and no session is to be evicted",
        metadata={"limit": limit, "value": value},
        retry_seconds=FULL_RETRY_SECONDS,
    )
