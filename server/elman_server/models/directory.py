"""The session directory: a model name with its loaded versions, and the ids of the sessions that run on them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman_server.errors import (
    Draining,
    InvalidInput,
    LimitReached,
    NoSessions,
    OtherState,
    ServiceError,
    SessionExists,
    UnknownModel,
    UnknownSession,
)
from elman_server.exchange.clock import Clock
from elman_server.exchange.exported import Exported
from elman_server.exchange.initial import NOTHING_GIVEN, Initial, check_context, check_states
from elman_server.exchange.sessions import OpenMode, OpenResult, Owner
from elman_server.exchange.versions import version_key
from elman_server.models.runtime import Runtime
from elman_server.sessions.places import Places
from elman_server.sessions.requests import Requests
from elman_server.sessions.tombstones import Tombstone, Tombstones

I64 = NDArray[np.int64]

FULL_RETRY_SECONDS = 1.0
"""What a caller refused at the session limit is told to wait: sessions end by the second, not by the step."""


class SessionLocation(NamedTuple):
    """Where a session runs."""

    runtime: Runtime
    slot: int


class SessionDirectory:
    """Used by the engine's thread alone, but for `versions`, which is replaced whole."""

    def __init__(self, name: str, max_tombstones: int, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self.versions: dict[str, Runtime] = {}
        self.tombstones = Tombstones(max_tombstones)
        self.requests = Requests()
        self._places = Places()

    def version(self, version: str) -> Runtime:
        """That version; if it is empty the highest one, of those that stay if any does.

        Raises:
            UnknownModel: no such version is loaded.
        """
        versions = self.versions
        if not version and versions:
            staying = {v: runtime for v, runtime in versions.items() if not runtime.unloading} or versions
            return staying[max(staying, key=version_key)]
        if version not in versions:
            known = ", ".join(sorted(versions, key=version_key)) or "none"
            raise UnknownModel(
                f"model {self.name!r} has no version {version!r} loaded; loaded: {known}",
                metadata={"model": self.name, "version": version},
            )
        return versions[version]

    def of_fingerprint(self, exported: Exported) -> Runtime:
        """The version that has an exported session's fingerprint.

        Raises:
            OtherState: none has.
        """
        for runtime in sorted(self.versions.values(), key=lambda r: r.spec.version != exported.version):
            if runtime.stack.fingerprint == exported.fingerprint:
                return runtime
        there = ", ".join(f"{v} ({r.stack.fingerprint[:12]})" for v, r in sorted(self.versions.items()))
        raise OtherState(
            f"the session was exported from model {exported.model!r} version {exported.version!r} "
            f"({exported.fingerprint[:12]}); loaded of model {self.name!r}: {there}",
            metadata={"model": self.name},
        )

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

    def handle(self, owner: Owner, number: int) -> int | None:
        """The newest handle of a session that runs on the version of that number and is not about to end."""
        place = self._places.of(owner)
        if place is None or place.number != number:
            return None
        sessions = next(r.sessions for r in self.versions.values() if r.number == number)
        return None if sessions.closing[place.slot] else sessions.handle(place.slot)

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
        opened = OpenResult.empty(ids)
        begin: list[int] = []
        resume: dict[Runtime, list[tuple[int, int]]] = {}
        for index, session_id in enumerate(ids):
            try:
                place = self._resumed(Owner(principal, session_id), mode, version)
            except ServiceError as error:
                opened.errors[index] = error
            else:
                if place:
                    opened.resumed[index] = True
                    resume.setdefault(place.runtime, []).append((index, place.slot))
                else:
                    begin.append(index)
        for resumed, pairs in resume.items():
            if initial.context:
                pairs = self._of_that_context(opened, resumed, pairs, initial)
            if pairs:
                slots = np.array([s for _, s in pairs])
                self._attach(opened, resumed, [i for i, _ in pairs], slots, now)
                if ends_with_stream is not None:
                    resumed.sessions.set_ending(slots, ends_with_stream)
        self._make_room(runtime, len(begin), now, now if since is None else since)
        new = self._begin(opened, runtime, principal, begin, now, initial, position)
        if runtime.limits.end_on_disconnect if ends_with_stream is None else ends_with_stream:
            runtime.sessions.set_ending(new, True)
        return opened

    def check_new(self, runtime: Runtime, principal: str, ids: Sequence[str]) -> None:
        """Raises SessionExists or LimitReached where not all of these new sessions could begin now."""
        for session_id in ids:
            self._resumed(Owner(principal, session_id), OpenMode.NEW, "")
        sessions = runtime.sessions
        room = sessions.max_sessions - (0 if runtime.limits.when_full == "evict" else sessions.num_open)
        if len(ids) > room:
            raise _full(runtime)

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
        opened = OpenResult.empty(ids)
        begin = []
        for index, session_id in enumerate(ids):
            try:
                self._resumed(Owner(principal, session_id), OpenMode.NEW, "")
            except ServiceError as error:
                opened.errors[index] = error
            else:
                begin.append(index)
        runtime.sessions.used[slot] = now  # so it is not evicted for its own children
        self._make_room(runtime, len(begin), now, now)
        slots = self._take(opened, runtime, principal, begin, now)
        if slots.size:
            runtime.fork(slot, slots)
            runtime.sessions.set_ending(slots, bool(runtime.sessions.ends_with_stream[slot]))
            self._attach(opened, runtime, [i for i in begin if i not in opened.errors], slots, now)
        return opened

    def take_over(self, place: SessionLocation, owner: Owner, target: Runtime, now: float) -> OpenResult:
        """Has a session, which nothing is queued for, go on on another version whose states agree, and attaches it."""
        opened = OpenResult.empty([owner.session_id])
        runtime, old = place
        slots = np.array([old])
        if runtime is not target:
            self._make_room(target, 1, now, now)
            slots = self._take(opened, target, owner.principal, [0], now)
            if not slots.size:
                return opened
            target.adopt(runtime, old, int(slots[0]))
            self.tombstones.note_moved(runtime.sessions.handle(old), target.spec.version)
            runtime.metrics.end("moved", 1)
            runtime.held.forget(place_slots := np.array([old]))
            runtime.marks.forget(place_slots)
            runtime.sessions.free(place_slots)
        self._attach(opened, target, [0], slots, now)
        return opened

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
        runtime.held.forget(slots)
        runtime.marks.forget(slots)
        sessions.free(slots)

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

    def _attach(self, opened: OpenResult, runtime: Runtime, indices: list[int], slots: I64, now: float) -> None:
        handles = runtime.sessions.attach(slots, now).tolist()
        positions = runtime.sessions.admitted[slots].tolist()
        for index, handle, position in zip(indices, handles, positions, strict=True):
            opened.handles[index], opened.positions[index] = handle, position
            opened.versions[index] = runtime.spec.version

    def _of_that_context(
        self, opened: OpenResult, runtime: Runtime, pairs: list[tuple[int, int]], initial: Initial
    ) -> list[tuple[int, int]]:
        # Those that run with the context that is given; the others are told.
        kept = []
        there = runtime.context_of(np.array([slot for _, slot in pairs]))
        for row, (index, slot) in enumerate(pairs):
            given = initial.context_of([index])
            if set(given) == set(there) and all((given[n][0] == there[n][row]).all() for n in there):
                kept.append((index, slot))
            else:
                opened.resumed[index] = False
                opened.errors[index] = InvalidInput(
                    f"session {opened.ids[index]!r} runs with another context than the one given; it stays as it was "
                    "when the session began: give that, or choose another id"
                )
        return kept

    def _begin(
        self,
        opened: OpenResult,
        runtime: Runtime,
        principal: str,
        indices: list[int],
        now: float,
        initial: Initial,
        position: int | I64,
    ) -> I64:
        slots = self._take(opened, runtime, principal, indices, now)
        indices = indices[: len(slots)]
        if indices:
            runtime.begin(slots, initial.of(indices))
            at = position if isinstance(position, int) else position[indices]
            runtime.sessions.position[slots] = runtime.sessions.admitted[slots] = at
            self._attach(opened, runtime, indices, slots, now)
        return slots

    def _take(self, opened: OpenResult, runtime: Runtime, principal: str, indices: list[int], now: float) -> I64:
        # Slots for as many of the new sessions as there is room for, the first ones; the others are told.
        room = runtime.sessions.max_sessions - runtime.sessions.num_open
        opened.errors.update(dict.fromkeys(indices[room:], _full(runtime)))
        indices = indices[:room]
        if not indices:
            return np.empty(0, np.int64)
        slots = runtime.sessions.take(len(indices), now)
        ids = [opened.ids[index] for index in indices]
        runtime.sessions.own(slots, principal, ids)
        self._places.put(principal, ids, runtime.number, slots.tolist())
        for session_id in ids:
            self.tombstones.lift(Owner(principal, session_id))
        runtime.metrics.sessions_opened.inc(len(indices))
        return slots

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


def _full(runtime: Runtime) -> LimitReached:
    limit, value = runtime.sessions_limit, runtime.sessions.max_sessions
    return LimitReached(
        f"{limit} is {value}, and no session is to be evicted",
        metadata={"limit": limit, "value": value},
        retry_seconds=FULL_RETRY_SECONDS,
    )


def _leaving(runtime: Runtime) -> Draining:
    spec = runtime.spec
    return Draining(f"model {spec.name!r} version {spec.version!r} is being unloaded; it takes no sessions any more")
