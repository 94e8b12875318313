"""Closing, describing and listing a model's sessions; on the engine's thread."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_server.engine.calls.hand_off import HandOffCalls
from elman_server.engine.calls.marks import MarkCalls
from elman_server.engine.calls.moves import MoveCalls
from elman_server.engine.calls.opening import Opening
from elman_server.engine.worker import Worker
from elman_server.errors import InvalidInput, ServiceError
from elman_server.exchange.initial import NOTHING_GIVEN, Initial
from elman_server.exchange.model_view import ModelView
from elman_server.exchange.session_calls.calls import Closed, OpenMode, OpenResult, Owner, SessionView
from elman_server.exchange.session_calls.exported import Exported
from elman_server.exchange.session_calls.ids import make_id
from elman_server.exchange.versions import version_key
from elman_server.models.directory import SessionDirectory, SessionLocation, check_steps
from elman_server.models.runtime import Runtime
from elman_server.threads.clock import Clock
from elman_server.threads.tell import Tell

Array = NDArray[Any]


class SessionCalls:
    """What owners do to sessions besides opening and stepping them."""

    def __init__(self, directory: SessionDirectory, clock: Clock, worker_of: Callable[[Runtime], Worker]) -> None:
        self.marks = MarkCalls(directory, worker_of)
        self.hand_off = HandOffCalls(directory, clock)
        self.moves = MoveCalls(directory, clock, worker_of)
        self.directory = self._directory = directory
        self._clock = clock

    def opening(
        self,
        principal: str,
        mode: OpenMode,
        version: str,
        initial: Initial = NOTHING_GIVEN,
        ends_with_stream: bool | None = None,
    ) -> Opening:
        """See the exchange's `SessionCalls`."""
        return Opening(self._directory, principal, mode, version, self._clock, initial, ends_with_stream)

    def close(self, principal: str, ids: Sequence[str], done: Callable[[Closed], None]) -> None:
        """See the exchange's `SessionCalls`."""
        closed = Closed([0] * len(ids))
        idle: dict[Runtime, list[tuple[int, int]]] = {}  # index and slot
        left: set[int] = set()  # indices that end later
        for index, session_id in enumerate(ids):
            try:
                place = self._directory.find(Owner(principal, session_id))
            except ServiceError as error:
                closed.errors[index] = error
                continue
            if place.runtime.scheduler.queues.is_empty(place.slot):
                idle.setdefault(place.runtime, []).append((index, place.slot))
            else:
                left.add(index)
                self._close_after_queued(closed, index, place, left, done)
        for runtime, pairs in idle.items():
            self._end(closed, runtime, pairs)
        if not left:
            done(closed)

    def _close_after_queued(
        self, closed: Closed, index: int, place: SessionLocation, left: set[int], done: Callable[[Closed], None]
    ) -> None:
        place.runtime.sessions.closing[place.slot] = True

        def end() -> None:
            self._end(closed, place.runtime, [(index, place.slot)])
            left.remove(index)
            if not left:
                done(closed)

        place.runtime.after_queued(place.slot, end)

    def _end(self, closed: Closed, runtime: Runtime, pairs: Sequence[tuple[int, int]]) -> None:
        # Sessions with nothing queued, all at once: one by one took four times as long.
        slots = np.array([slot for _, slot in pairs])
        for (index, _), position in zip(pairs, runtime.sessions.position[slots].tolist(), strict=True):
            closed.positions[index] = position
        self._directory.end(runtime, slots, "closed", self._clock.now())

    def end_after_queue(self, owner: Owner, done: Callable[[], None]) -> None:
        """Ends a session that lives, after its queued chunks; `done` is called when there is none of that id."""
        place = self._directory.place(owner)
        if place is None:
            done()
        elif place.runtime.sessions.closing[place.slot]:
            place.runtime.after_queued(place.slot, done)
        else:
            self.close(owner.principal, [owner.session_id], lambda _: done())

    def describe(self, owner: Owner, with_state: bool, done: Callable[[SessionView], None]) -> None:
        """See the exchange's `SessionCalls`."""
        place = self._directory.find(owner)
        if with_state:
            place.runtime.after_queued(
                place.slot, lambda: done(self._view(self._directory.there(owner), with_state=True))
            )
        else:
            done(self._view(place))

    def set_state(self, owner: Owner, read: Callable[[ModelView], Initial], tell: Tell[int]) -> None:
        """See the exchange's `SessionCalls`."""
        place = self._directory.find(owner)
        check_steps(place.runtime)
        initial = read(place.runtime.view)

        def put() -> int:
            runtime, slot = self._directory.there(owner)
            runtime.set_states(slot, initial.states)
            return int(runtime.sessions.position[slot])

        place.runtime.after_queued(place.slot, lambda: tell(put))

    def fork(self, owner: Owner, ids: Sequence[str] | int, tell: Tell[OpenResult], request_id: str = "") -> None:
        """See the exchange's `SessionCalls`."""
        if self._made_by(owner.principal, request_id, ids):
            tell(lambda: self._fork(owner, ids, request_id))
            return
        place = self._directory.find(owner)
        place.runtime.after_queued(place.slot, lambda: tell(lambda: self._fork(owner, ids, request_id)))

    def _fork(self, owner: Owner, ids: Sequence[str] | int, request_id: str) -> OpenResult:
        directory, principal, now = self._directory, owner.principal, self._clock.now()
        made = self._made_by(principal, request_id, ids)
        if made:
            return directory.open(principal, made, OpenMode.RESUME, "", now)
        new_ids = [make_id() for _ in range(ids)] if isinstance(ids, int) else ids
        forked = directory.fork(directory.there(owner), principal, new_ids, now)
        if not forked.errors:
            directory.requests.note(principal, request_id, forked.ids)
        return forked

    def export(self, owner: Owner, tell: Tell[Exported]) -> None:
        """See the exchange's `SessionCalls`."""
        place = self._directory.find(owner)

        def export() -> Exported:
            runtime, slot = self._directory.there(owner)
            slots, spec = np.array([slot]), runtime.spec
            pairs = zip(runtime.view.states, runtime.states_of(slots), strict=True)
            return Exported(
                model=spec.name,
                version=spec.version,
                fingerprint=runtime.stack.fingerprint,
                session_id=owner.session_id,
                position=int(runtime.sessions.position[slot]),
                states={one.name: array if one.layers else array[0] for one, array in pairs},
                context=runtime.context_of(slots),
            )

        place.runtime.after_queued(place.slot, lambda: tell(export))

    def import_session(self, principal: str, ids: Sequence[str], exported: Exported, request_id: str) -> OpenResult:
        """See the exchange's `SessionCalls`."""
        directory, now = self._directory, self._clock.now()
        made = self._made_by(principal, request_id, ids or 1)
        if made:
            return directory.open(principal, made, OpenMode.RESUME, "", now)
        runtime = directory.of_fingerprint(exported)
        opened = directory.open(
            principal,
            ids or [make_id()],
            OpenMode.NEW,
            "",
            now,
            exported.initial(runtime.view),
            runtime=runtime,
            position=exported.position,
            is_kept=True,
        )
        if not opened.errors:
            directory.requests.note(principal, request_id, opened.ids)
        return opened

    def _made_by(self, principal: str, request_id: str, asked: Sequence[str] | int) -> tuple[str, ...]:
        return self._directory.requests.made_by(principal, request_id, asked)

    def page(self, principal: str, count: int, token: str) -> tuple[list[SessionView], str]:
        """See the exchange's `SessionCalls`."""
        views: list[SessionView] = []
        at, first = _read_token(token)
        for runtime in self._runtimes():
            if runtime.number < at:
                continue
            from_slot = first if runtime.number == at else 0
            slots, more = runtime.sessions.page(principal, from_slot, count - len(views))
            views += [self._view(SessionLocation(runtime, slot)) for slot in slots]
            if more is not None:
                return views, f"{runtime.number}.{more}"
        return views, ""

    def _runtimes(self) -> list[Runtime]:
        return sorted(self._directory.versions.values(), key=lambda r: (r.number, version_key(r.spec.version)))

    def _view(self, place: SessionLocation, *, with_state: bool = False) -> SessionView:
        runtime, slot = place
        sessions, wall = runtime.sessions, self._clock.wall
        owner = sessions.owner(slot)
        idle, used = runtime.limits.idle_timeout_seconds, float(sessions.used[slot])
        waits = idle is not None and sessions.admitted[slot] == sessions.position[slot]
        return SessionView(
            model=runtime.spec.name,
            version=runtime.spec.version,
            session_id=owner.session_id if owner else "",
            position=int(sessions.position[slot]),
            admitted=int(sessions.admitted[slot]),
            created=wall(float(sessions.created[slot])),
            used=wall(used),
            expires=wall(used + idle) if idle is not None and waits else None,
            states=runtime.states_of(np.array([slot])) if with_state else None,
            context=runtime.context_of(np.array([slot])) if with_state else {},
            tensors=runtime.view if with_state else None,
            marks=runtime.marks.positions(slot),
        )


def _read_token(token: str) -> tuple[int, int]:
    if not token:
        return 0, 0
    number, dot, slot = token.partition(".")
    if not (dot and number.isdecimal() and slot.isdecimal() and len(token) < 32):
        raise InvalidInput(f"page_token: {token[:32]!r} is not one that this server gave")
    return int(number), int(slot)
