"""Sequences: requests that name one become steps of its session, in the order in which they arrived."""

from collections import deque

import numpy as np

from elman_server.engine.calls.sessions import SessionCalls
from elman_server.engine.engine import Engine
from elman_server.errors import Cancelled, InvalidInput, ServiceError, UnknownSession
from elman_server.exchange.frames import Frame
from elman_server.exchange.initial import Initial
from elman_server.exchange.sequences import SequenceStep
from elman_server.exchange.served import ServedModel
from elman_server.exchange.session_calls.calls import OpenMode
from elman_server.models.catalogue import Catalogue
from elman_server.models.directory import SessionDirectory, SessionLocation

Key = tuple[str, str]
"""Model and session id."""


class Sequences:
    """On the engine's thread: takes requests as they come, and admits those of a turn together.

    The session is looked up when the engine takes the request in, so nothing of it is kept here; only requests that
    wait for a sequence's earlier life to end are.
    """

    def __init__(self, engine: Engine, catalogue: Catalogue) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self._arrived: list[SequenceStep] = []
        self._posted = False
        self._waiting: dict[Key, deque[SequenceStep]] = {}

    def submit(self, step: SequenceStep) -> None:
        """Takes a request. It is answered through its frame's sink."""
        self._arrived.append(step)
        if not self._posted:
            self._posted = True
            self._engine.post(self._take_in)

    def _take_in(self) -> None:
        self._posted = False
        arrived, self._arrived = self._arrived, []
        self._admit(arrived)

    def _admit(self, steps: list[SequenceStep]) -> None:
        # Plain steps that stand together are admitted together.
        together: dict[int, SequenceStep] = {}  # by handle
        for step in steps:
            handle = self._plain(step)
            if handle is None or handle in together:
                self._admit_together(together)
                together = {}
            if handle is None:
                self._admit_alone(step)
            else:
                together[handle] = step
        self._admit_together(together)

    def _plain(self, step: SequenceStep) -> int | None:
        # The handle of the session of a request that neither begins nor ends a sequence, if it is all in order.
        parameters = step.parameters
        if parameters.start or parameters.end or not parameters.session_id or step.cancelled:
            return None
        if self._waiting and _key(step) in self._waiting:
            return None
        target = step.target
        return self._catalogue.directories[target.directory.name].handle(step.owner, target.runtime.spec.version)

    def _admit_together(self, together: dict[int, SequenceStep]) -> None:
        # Steps of distinct sessions. Those of one form are one frame.
        alike: dict[object, list[int]] = {}
        for handle, step in together.items():
            alike.setdefault(step.form or step, []).append(handle)
        frames: dict[ServedModel, list[Frame]] = {}
        for handles in alike.values():
            first = together[handles[0]]
            frame = first.joined([together[handle] for handle in handles])
            frame.handles = np.array(handles, np.uint64)
            frames.setdefault(first.target.worker, []).append(frame)
        for worker, mine in frames.items():
            worker.admission.admit(mine)

    def _admit_alone(self, step: SequenceStep) -> None:
        waiting = self._waiting.get(_key(step))
        if waiting is None:
            self._perform(step)
        else:
            waiting.append(step)

    def _perform(self, step: SequenceStep) -> bool:
        # Whether it is over with here: a start waits for the sequence's earlier life to end.
        if step.cancelled:
            self._engine.result_queue.refuse(step.frame, Cancelled("its caller went away before it ran"))
            return True
        parameters = step.parameters
        try:
            if not parameters.session_id:
                step.target.worker.admission.admit_infer(step.frame, step.initial)
            elif not parameters.start:
                self._step(step, self._find(step))
            elif self._directory(step).place(step.owner) is None:
                self._begin(step)
            else:
                self._wait(step)
                return False
        except ServiceError as error:
            self._refuse(step, error)
        return True

    def _wait(self, step: SequenceStep) -> None:
        # A sequence that lives ends after its steps that wait; what follows the start meanwhile waits with it.
        key = _key(step)
        self._waiting.setdefault(key, deque()).appendleft(step)
        self._session_calls(step).end_after_queue(step.owner, lambda: self._engine.post(lambda: self._go_on(key)))

    def _go_on(self, key: Key) -> None:
        waiting = self._waiting[key]
        while waiting:
            if not self._perform(waiting.popleft()):
                return
        del self._waiting[key]

    def _begin(self, step: SequenceStep) -> None:
        directory, now = self._directory(step), self._engine.clock.now()
        version = step.target.runtime.spec.version
        initial = step.initial
        ids = [step.owner.session_id]
        context = Initial(context=initial.context)
        opened = directory.open(step.owner.principal, ids, OpenMode.NEW, version, now, context, ends_with_stream=False)
        if opened.errors:
            raise opened.errors[0]
        place = self._find(step)
        if initial.states:
            place.runtime.begin(np.array([place.slot]), initial)
        if not self._step(step, place):
            # A step that follows must not run as if it were the first.
            directory.end(place.runtime, np.array([place.slot]), "closed", now)

    def _step(self, step: SequenceStep, place: SessionLocation) -> bool:
        # Whether it was admitted; a sequence whose end was not goes on.
        sessions, frame = place.runtime.sessions, step.frame
        before = int(sessions.admitted[place.slot])
        frame.handles = np.array([sessions.handle(place.slot)], np.uint64)
        step.target.worker.admission.admit([frame])
        admitted = int(sessions.admitted[place.slot]) != before
        if admitted and step.parameters.end:
            self._session_calls(step).close(step.owner.principal, [step.owner.session_id], lambda _: None)
        return admitted

    def _session_calls(self, step: SequenceStep) -> SessionCalls:
        return SessionCalls(self._directory(step), self._engine.clock, self._engine.worker_of)

    def _directory(self, step: SequenceStep) -> SessionDirectory:
        return self._catalogue.directories[step.target.directory.name]

    def _find(self, step: SequenceStep) -> SessionLocation:
        directory, owner = self._directory(step), step.owner
        place = directory.place(owner)
        if place is None or place.runtime.sessions.closing[place.slot]:
            ended = directory.tombstones.of(owner)
            text = (
                f"inference request for sequence {step.parameters.sequence_id} to model '{directory.name}' must "
                "specify the START flag on the first request of the sequence"
            )
            raise UnknownSession(f"{text}; it was {ended.cause} at position {ended.position}" if ended else text)
        if place.runtime is not step.target.runtime:
            self._redirect(step, place)
        return place

    def _redirect(self, step: SequenceStep, place: SessionLocation) -> None:
        # A sequence stays on the version that it began on, also when a higher one was loaded since.
        runtime = place.runtime
        if step.version or runtime.view != step.target.runtime.view:
            raise InvalidInput(
                f"sequence {step.parameters.sequence_id} runs on version '{runtime.spec.version}' of model "
                f"'{runtime.spec.name}': name that version"
            )
        step.redirect(runtime)

    def _refuse(self, step: SequenceStep, error: ServiceError) -> None:
        step.target.runtime.metrics.reject(error.reason, step.frame.num_rows)
        self._engine.result_queue.refuse(step.frame, error)


def _key(step: SequenceStep) -> Key:
    return step.target.directory.name, step.parameters.session_id
