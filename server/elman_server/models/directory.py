"""The session directory: which sessions a model has, by id, and on which of its versions each runs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman_server.errors import (
    Draining,
    InvalidInput,
    NoSessions,
    ServiceError,
    SessionExists,
    UnknownSession,
)
from elman_server.exchange.initial import NOTHING_GIVEN, Initial, check_context, check_states
from elman_server.exchange.session_calls.calls import OpenMode, OpenResult, Owner
from elman_server.models.opening import Opening, full
from elman_server.models.runtime import Runtime
from elman_server.models.versions import ModelVersions
from elman_server.sessions.places import Places
from elman_server.sessions.requests import Requests
from elman_server.sessions.tombstones import Tombstone, Tombstones
from elman_server.threads.clock import Clock

I64 = NDArray[np.int64]


class SessionLocation(NamedTuple):
    """Where a session runs."""

    runtime: Runtime
    slot: int


class SessionDirectory(ModelVersions):
    """A model's versions, and the sessions on them by id; used by the engine's thread alone, but for the versions."""

    def __init__(self, name: str, max_tombstones: int, clock: Clock) -> None:
        super().__init__(name)
        self._clock = clock
        self.tombstones = Tombstones(max_tombstones)
        self.requests = Requests()
        self._places = Places()

    def find(self, owner: Owner) -> SessionLocation:
        """Where a session runs.

        Raises:
            SessionExpired, UnknownSession: it does not.
        """
        place = self.place(owner)
        if place is not None and not place.runtime.sessions.closing[place.slot]:
            return place
        tombstone = self.tombstones.of(owner)
        if tombstone:
            raise tombstone.error(owner.session_id)
        raise UnknownSession(
            f"model {self.name!r} has no session {owner.session_id!r}",
            metadata={"model": self.name, "session_id": owner.session_id},
        )

    def there(self, owner: Owner) -> SessionLocation:
        """Where a session runs that was found before and may have moved since; one that is about to end counts.

        Raises:
            SessionExpired, UnknownSession: it has ended.
        """
        return self.place(owner) or self.find(owner)

    def place(self, owner: Owner) -> SessionLocation | None:
        """Where a session runs, or is about to end; None: nowhere."""
        place = self._places.of(owner)
        if place is None:
            return None
        runtime = next(r for r in self.versions.values() if r.number == place.number)
        return SessionLocation(runtime, place.slot)

    def handle(self, owner: Owner, version: str) -> int | None:
        """The newest handle of a session that runs on that version and is not about to end."""
        place, runtime = self._places.of(owner), self.versions.get(version)
        if place is None or runtime is None or place.number != runtime.number:
            return None
        return None if runtime.sessions.closing[place.slot] else runtime.sessions.handle(place.slot)

    def open(
        self,
        principal: str,
        ids: Sequence[str],
        mode: OpenMode,
        version: str,
        now: float,
        initial: Initial = NOTHING_GIVEN,
        *,
        since: float | None = None,
        runtime: Runtime | None = None,
        position: int | I64 = 0,
        ends_with_stream: bool | None = None,
        is_kept: bool = False,
    ) -> OpenResult:
        """Begins or resumes sessions and attaches them.

        Args:
            principal: whose they are.
            ids: distinct.
            mode, version: as in the contract.
            now: in seconds on the engine's clock.
            initial: what each of the ids begins with, [len(ids), ...]. One that exists has its context already, and is
                to be the same.
            since: sessions used from then on are not evicted; by default from now on.
            runtime: where new sessions begin; by default on that version.
            position: where new sessions begin, in time steps; of all or [len(ids)] of each.
            is_kept: whether they keep a state that whole sequences gave, and need not be stepped.
            ends_with_stream: whether they end with the stream that drives them; None: those that go on as they were.

        Raises:
            UnknownModel: no such version.
            InvalidInput: the context is not what the version takes.
            NoSessions: the model needs whole sequences; those that keep a state of one may go on.
            Draining: the version is being unloaded.
        """
        runtime = runtime or self.version(version)
        check_takes_sessions(runtime, are_stepped=not is_kept and mode is not OpenMode.RESUME)
        if mode is not OpenMode.RESUME:
            check_context(runtime.view, initial.context, len(ids))
        check_states(runtime.view, initial.states, len(ids))
        opening = self._opening(principal, ids, now)
        for resumed, found in self._divided(opening, principal, mode, version).items():
            slots = opening.resume(resumed, found, initial)
            if ends_with_stream is not None:
                resumed.sessions.set_ending(slots, ends_with_stream)
        self._make_room(runtime, len(opening.new), now, now if since is None else since)
        new = opening.begin(runtime, initial, position)
        if runtime.limits.end_on_disconnect if ends_with_stream is None else ends_with_stream:
            runtime.sessions.set_ending(new, True)
        return opening.result

    def check_new(self, runtime: Runtime, principal: str, ids: Sequence[str]) -> None:
        """Raises SessionExists or LimitReached where not all of these new sessions could begin now."""
        for session_id in ids:
            self._resumed(Owner(principal, session_id), OpenMode.NEW, "")
        sessions = runtime.sessions
        room = sessions.max_sessions - (0 if runtime.limits.when_full == "evict" else sessions.num_open)
        if len(ids) > room:
            raise full(runtime)

    def has_room(self, runtime: Runtime, now: float) -> bool:
        """Whether a session more could begin now, if need be in place of one that is evicted for it."""
        self._make_room(runtime, 1, now, now)
        return runtime.sessions.num_open < runtime.sessions.max_sessions

    def fork(self, place: SessionLocation, principal: str, ids: Sequence[str], now: float) -> OpenResult:
        """Begins sessions where another one is, which nothing is queued for. `now` in seconds on the engine's clock.

        Raises:
            Draining: the version is being unloaded.
        """
        runtime, slot = place
        check_takes_sessions(runtime)
        opening = self._opening(principal, ids, now)
        self._divided(opening, principal, OpenMode.NEW, "")
        runtime.sessions.used[slot] = now  # so it is not evicted for its own children
        self._make_room(runtime, len(opening.new), now, now)
        opening.fork(runtime, slot)
        return opening.result

    def take_over(self, place: SessionLocation, owner: Owner, target: Runtime, now: float) -> OpenResult:
        """Has a session, which nothing is queued for, go on on another version whose states agree, and attaches it."""
        opening = self._opening(owner.principal, [owner.session_id], now)
        runtime, old = place
        slots = np.array([old])
        if runtime is not target:
            self._make_room(target, 1, now, now)
            opening.new = [0]
            slots = opening.take(target)
            if not slots.size:
                return opening.result
            target.adopt(runtime, old, int(slots[0]))
            self.tombstones.note_moved(runtime.sessions.handle(old), target.spec.version)
            runtime.metrics.end("moved", 1)
            _vacate(runtime, np.array([old]))
        opening.attach(target, [0], slots)
        return opening.result

    def end(self, runtime: Runtime, slots: I64, cause: str, now: float) -> None:
        """Ends idle sessions for a cause: closed, expired, evicted, disconnected or drained. `now` in seconds on the
        engine's clock."""
        sessions, metrics = runtime.sessions, runtime.metrics
        for slot in slots.tolist():
            owner = sessions.owner(slot)
            if owner is None:
                continue
            self._places.remove(owner)
            self.requests.forget(owner)
            if cause != "closed":  # its owner did not ask for it, and is to be told
                tombstone = Tombstone(int(sessions.position[slot]), self._clock.wall(now), cause)
                self.tombstones.bury(owner, sessions.handle(slot), tombstone)
        metrics.session_lifetime.observe_all(now - sessions.created[slots])
        if cause in ("expired", "evicted"):
            metrics.idle_before_eviction.observe_all(now - sessions.used[slots])
        metrics.end(cause, len(slots))
        _vacate(runtime, slots)

    def _opening(self, principal: str, ids: Sequence[str], now: float) -> Opening:
        return Opening(principal, ids, now, self._places, self.tombstones)

    def _divided(
        self, opening: Opening, principal: str, mode: OpenMode, version: str
    ) -> dict[Runtime, list[tuple[int, int]]]:
        # Those to resume, by index and slot; notes which are new, and what is told of those that are refused.
        found: dict[Runtime, list[tuple[int, int]]] = {}
        for index, session_id in enumerate(opening.result.ids):
            try:
                place = self._resumed(Owner(principal, session_id), mode, version)
            except ServiceError as error:
                opening.result.errors[index] = error
            else:
                if place:
                    found.setdefault(place.runtime, []).append((index, place.slot))
                else:
                    opening.new.append(index)
        return found

    def _resumed(self, owner: Owner, mode: OpenMode, version: str) -> SessionLocation | None:
        # Where to go on, or None to begin.
        found = self.place(owner)
        if found is None:
            if mode is OpenMode.RESUME or (mode is OpenMode.RESUME_OR_NEW and self.tombstones.of(owner)):
                self.find(owner)  # raises
            return None
        position = int(found.runtime.sessions.admitted[found.slot])
        if mode is not OpenMode.NEW and found.runtime.sessions.closing[found.slot]:
            self.find(owner)  # raises
        if mode is OpenMode.NEW:
            raise SessionExists(
                f"session {owner.session_id!r} exists, at position {position}; resume it or choose another id",
                metadata={"position": position},
            )
        if found.runtime.unloading:
            raise _leaving(found.runtime)
        if version and found.runtime.spec.version != version:
            raise InvalidInput(
                f"session {owner.session_id!r} runs on version {found.runtime.spec.version!r}, not {version!r}"
            )
        return found

    def _make_room(self, runtime: Runtime, wanted: int, now: float, since: float) -> None:
        sessions = runtime.sessions
        missing = wanted - (sessions.max_sessions - sessions.num_open)
        if missing > 0 and runtime.limits.when_full == "evict":
            kept = runtime.busy() | (sessions.used >= since)  # not those that this very call resumed
            self.end(runtime, sessions.least_recent(missing, kept), "evicted", now)


def check_takes_sessions(runtime: Runtime, *, are_stepped: bool = True) -> None:
    """Raises Draining or NoSessions where no session is to begin."""
    if runtime.unloading:
        raise _leaving(runtime)
    if are_stepped:
        check_steps(runtime)


def check_steps(runtime: Runtime) -> None:
    """Raises NoSessions where what sessions there are hold states that were kept, and nothing is done to them."""
    if runtime.view.needs_whole_sequences:
        is_stack = runtime.view.has_stack_state
        reason = (
            "is bidirectional: its backward direction needs the end of the sequence"
            if is_stack
            else "looks ahead: it needs whole sequences"
        )
        raise NoSessions(
            f"model {runtime.spec.name!r} {reason}, so it keeps no sessions; use Infer",
            metadata={"model": runtime.spec.name},
        )


def _vacate(runtime: Runtime, slots: I64) -> None:
    runtime.replay_buffer.forget(slots)
    runtime.marks.forget(slots)
    runtime.sessions.free(slots)


def _leaving(runtime: Runtime) -> Draining:
    spec = runtime.spec
    return Draining(f"model {spec.name!r} version {spec.version!r} is being unloaded; it takes no sessions any more")
