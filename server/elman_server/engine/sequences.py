"""Sequences: requests that name one become steps of its session, in the order in which they arrived."""

from collections import deque

import numpy as np

from elman_server.door.door import ANONYMOUS
from elman_server.door.oip.inference import Inference
from elman_server.door.oip.targets import Targets
from elman_server.engine.engine import Engine
from elman_server.engine.session_calls import SessionCalls
from elman_server.engine.worker import Worker
from elman_server.errors import Cancelled, InvalidInput, ServiceError, UnknownSession
from elman_server.exchange.frames import Frame
from elman_server.exchange.initial import Initial
from elman_server.exchange.sessions import OpenMode
from elman_server.sessions.directory import SessionLocation

Key = tuple[str, str]
"""Model and session id."""


class Sequences:
    """On the engine's thread: takes inferences as they come, and admits those of a turn together.

    The session is looked up when the engine takes the request in, so nothing of it is kept here; only requests that
    wait for a sequence's earlier life to end are.
    """

    def __init__(self, engine: Engine, targets: Targets) -> None:
        self._engine = engine
        self._targets = targets
        self._arrived: list[Inference] = []
        self._posted = False
        self._waiting: dict[Key, deque[Inference]] = {}

    def submit(self, inference: Inference) -> None:
        """Takes an inference. It is answered through its frame's sink."""
        self._arrived.append(inference)
        if not self._posted:
            self._posted = True
            self._engine.post(self._take_in)

    def _take_in(self) -> None:
        self._posted = False
        arrived, self._arrived = self._arrived, []
        self._admit(arrived)

    def _admit(self, inferences: list[Inference]) -> None:
        # Plain steps that stand together are admitted together.
        together: dict[int, Frame] = {}  # by handle
        of: Worker | None = None
        for inference in inferences:
            place = self._plain(inference)
            if place is None:
                self._admit_together(of, together)
                self._admit_alone(inference)
                continue
            handle = place.runtime.sessions.handle(place.slot)
            worker = inference.target.worker
            if handle in together or worker is not of:
                self._admit_together(of, together)
                of = worker
            inference.frame.handles = np.array([handle], np.uint64)
            together[handle] = inference.frame
        self._admit_together(of, together)

    def _plain(self, inference: Inference) -> SessionLocation | None:
        # Where a request runs that neither begins nor ends a sequence, if it is all in order.
        parameters = inference.parameters
        if parameters.start or parameters.end or not parameters.session_id:
            return None
        if self._waiting and _key(inference) in self._waiting:
            return None
        place = inference.target.directory.place(inference.owner)
        if place is None or place.runtime.sessions.closing[place.slot]:
            return None
        return place if place.runtime is inference.target.runtime else None

    def _admit_together(self, worker: Worker | None, together: dict[int, Frame]) -> None:
        if worker and together:
            worker.admission.admit(list(together.values()))
            together.clear()

    def _admit_alone(self, inference: Inference) -> None:
        waiting = self._waiting.get(_key(inference))
        if waiting is None:
            self._perform(inference)
        else:
            waiting.append(inference)

    def _perform(self, inference: Inference) -> bool:
        # Whether it is over with here: a start waits for the sequence's earlier life to end.
        if inference.cancelled:
            self._engine.result_queue.refuse(inference.frame, Cancelled("its caller went away before it ran"))
            return True
        parameters = inference.parameters
        try:
            if not parameters.session_id:
                inference.target.worker.admission.admit_infer(inference.frame, inference.initial)
            elif not parameters.start:
                self._step(inference, self._find(inference))
            elif inference.target.directory.place(inference.owner) is None:
                self._begin(inference)
            else:
                self._wait(inference)
                return False
        except ServiceError as error:
            self._refuse(inference, error)
        return True

    def _wait(self, inference: Inference) -> None:
        # A sequence that lives ends after its steps that wait; what follows the start meanwhile waits with it.
        key = _key(inference)
        self._waiting.setdefault(key, deque()).appendleft(inference)
        self._session_calls(inference).end_after_queue(
            inference.owner, lambda: self._engine.post(lambda: self._go_on(key))
        )

    def _go_on(self, key: Key) -> None:
        waiting = self._waiting[key]
        while waiting:
            if not self._perform(waiting.popleft()):
                return
        del self._waiting[key]

    def _begin(self, inference: Inference) -> None:
        directory, now = inference.target.directory, self._engine.clock.now()
        version = inference.target.runtime.spec.version
        initial = inference.initial
        ids = [inference.owner.session_id]
        context = Initial(context=initial.context)
        opened = directory.open(ANONYMOUS, ids, OpenMode.NEW, version, now, context, ends_with_stream=False)
        if opened.errors:
            raise opened.errors[0]
        place = self._find(inference)
        if initial.states:
            place.runtime.begin(np.array([place.slot]), initial)
        if not self._step(inference, place):
            # A step that follows must not run as if it were the first.
            directory.end(place.runtime, np.array([place.slot]), "closed", now)

    def _step(self, inference: Inference, place: SessionLocation) -> bool:
        # Whether it was admitted; a sequence whose end was not goes on.
        sessions, frame = place.runtime.sessions, inference.frame
        before = int(sessions.admitted[place.slot])
        frame.handles = np.array([sessions.handle(place.slot)], np.uint64)
        inference.target.worker.admission.admit([frame])
        admitted = int(sessions.admitted[place.slot]) != before
        if admitted and inference.parameters.end:
            self._session_calls(inference).close(ANONYMOUS, [inference.owner.session_id], lambda _: None)
        return admitted

    def _session_calls(self, inference: Inference) -> SessionCalls:
        target = inference.target
        return SessionCalls(target.directory, self._engine.clock, lambda _: target.worker)

    def _find(self, inference: Inference) -> SessionLocation:
        directory, owner = inference.target.directory, inference.owner
        place = directory.place(owner)
        if place is None or place.runtime.sessions.closing[place.slot]:
            ended = directory.tombstones.of(owner)
            text = (
                f"inference request for sequence {inference.parameters.sequence_id} to model '{directory.name}' must "
                "specify the START flag on the first request of the sequence"
            )
            raise UnknownSession(f"{text}; it was {ended.cause} at position {ended.position}" if ended else text)
        if place.runtime is not inference.target.runtime:
            self._redirect(inference, place)
        return place

    def _redirect(self, inference: Inference, place: SessionLocation) -> None:
        # A sequence stays on the version that it began on, also when a higher one was loaded since.
        runtime = place.runtime
        if inference.version or runtime.view != inference.target.runtime.view:
            raise InvalidInput(
                f"sequence {inference.parameters.sequence_id} runs on version '{runtime.spec.version}' of model "
                f"'{runtime.spec.name}': name that version"
            )
        inference.target = self._targets.of(runtime)

    def _refuse(self, inference: Inference, error: ServiceError) -> None:
        inference.target.runtime.metrics.reject(error.reason, inference.frame.num_rows)
        self._engine.result_queue.refuse(inference.frame, error)


def _key(inference: Inference) -> Key:
    return inference.target.directory.name, inference.parameters.session_id
