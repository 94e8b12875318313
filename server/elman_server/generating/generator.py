"""The generator of a model version: what its sessions gave becomes their next frame, that of all of them together."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_server.engine.engine import Engine
from elman_server.engine.worker import Worker
from elman_server.errors import (
    RETRY_SECONDS,
    AnswerGone,
    CannotGenerate,
    Draining,
    EngineFailed,
    LimitReached,
    ServiceError,
    StaleHandle,
)
from elman_server.exchange.model_view import StepRecord
from elman_server.generating.beams import Beams
from elman_server.generating.cohort import Cohort
from elman_server.generating.feeding import feed, is_nan
from elman_server.generating.frames import frame_of
from elman_server.generating.generation import Generation, bug
from elman_server.generating.records import Records
from elman_server.generating.spec import Feedback
from elman_server.generating.telling import Telling
from elman_server.generating.turn import Turn
from elman_server.models.directory import SessionDirectory

Array = NDArray[Any]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
log = logging.getLogger(__name__)


class Generator:
    """On the engine's thread. A step is made of an answer once that turn's answers are told, and is one row of a frame
    like any other; whoever generates at the same time shares it."""

    def __init__(self, worker: Worker, engine: Engine, directory: SessionDirectory, telling: Telling) -> None:
        self._worker = worker
        self._engine = engine
        self._directory = directory
        self._ready: list[Generation] = []
        self._is_due = False
        self._telling = telling
        self._kinds: dict[tuple[Feedback, ...], int] = {}
        self._cohorts: dict[int, Cohort] = {}  # those that went on last, by kind
        self.records = Records(worker.runtime)
        self.draining = False

    @property
    def worker(self) -> Worker:
        """Of which model version."""
        return self._worker

    @property
    def engine(self) -> Engine:
        """Which runs it."""
        return self._engine

    def start(self, generation: Generation) -> None:
        """Begins with the prompt, or with the last output, which it has then."""
        self.records.put(generation)
        self._attach(generation)
        if generation.has_run_prompt:
            self.make_ready(generation)
        else:
            self._run_prompt(generation)

    def give_way(self, slot: int) -> None:
        """Ends what a session generates, which is to generate something else."""
        there = self.records.newest(slot)
        if there and there.listener and not there.is_over:
            position = {"position": there.position}
            self.fail(there, AnswerGone("the session was asked to generate something else", metadata=position))

    def resume(self, generation: Generation) -> None:
        """Goes on with one that rests, or has met an error; somebody listens again."""
        generation.error = None
        self._attach(generation)
        if generation.is_running or generation.is_over:
            return
        if not generation.has_run_prompt:
            self._run_prompt(generation)
        elif generation not in self._ready:
            self.make_ready(generation)

    def _attach(self, generation: Generation) -> None:
        generation.handle = self._worker.runtime.sessions.handle(generation.slot)
        generation.kind = self._kinds.setdefault(generation.spec.feedback, len(self._kinds))
        self._part(generation)  # it may have gone on under another handle

    def _part(self, generation: Generation) -> None:
        # Those that it went on with do so without it, and nothing of it is held for them.
        self._cohorts.pop(generation.kind, None)

    def make_ready(self, generation: Generation) -> None:
        """Has it go on from its last output."""
        self._ready.append(generation)
        self._go_on_soon()

    def _go_on_soon(self) -> None:
        if self._ready and not self._is_due:
            self._is_due = True
            self._engine.post(self._go_on)

    def _run_prompt(self, generation: Generation) -> None:
        prompt = generation.spec.prompt
        assert prompt is not None
        if self.is_at_home(generation):
            handles, positions = np.array([generation.handle], np.uint64), np.array([generation.position])
            self._submit(Turn(self, [generation]), handles, positions, prompt)

    def _go_on(self) -> None:
        self._is_due = False
        ready, self._ready = self._ready, []
        groups: dict[int, list[Generation]] = {}
        for one in dict.fromkeys(ready):  # who resumes while it waits is there twice
            if one.is_running:
                continue
            if not one.listener or one.is_over:
                self._part(one)
                continue
            if not one.spec.beams:
                groups.setdefault(one.kind, []).append(one)
            elif one.search is None and self.is_at_home(one):
                self._search(one)
        for group in groups.values():
            self._isolate(group, partial(self._step_some, group))

    def _search(self, one: Generation) -> None:
        def begin() -> None:
            Beams(self, self._directory, one).begin()

        self._isolate([one], begin)

    def _isolate(self, group: Sequence[Generation], function: Callable[[], None]) -> None:
        # A bug in what is made of outputs is not the engine's: nothing was submitted.
        try:
            function()
        except ServiceError as error:
            for one in group:
                self._end(one, error)
        except Exception as error:
            log.exception("a bug in what is generated")
            for one in group:
                self.fail(one, bug(error))

    def _step_some(self, group: Sequence[Generation]) -> None:
        # As many as there is room for, at least one, which is told so; those that have come least far first.
        if not group:
            return
        room = max(1, self._worker.admission.free_rows(self._worker.runtime.view.input.num_bytes))
        if room < len(group):
            group = sorted(group, key=lambda one: one.count)
            for one in group[room:]:
                self._put_off(one, RETRY_SECONDS)
        self._step(group[:room])

    def _step(self, group: Sequence[Generation]) -> None:
        view, cohort = self._worker.runtime.view, self._cohort(group)
        counts, outputs = cohort.counts(), cohort.outputs()
        positions = cohort.positions(counts)
        record = view.output.part(cohort.spec.outputs)
        goes_on = cohort.are_at_home(self._worker.runtime, positions) & ~is_nan(record, outputs)
        if self.draining or not goes_on.all():
            self._step_some([one for one in group if self._goes_on(one, record)])
            return
        fed = feed(cohort.spec.feedback, record, outputs, cohort.rules, counts, cohort.histories)
        fields = [
            fed.tensors[one.name] if one.name in fed.tensors else cohort.given(one.name, counts)
            for one in view.input.fields
        ]
        data = view.input.joined(fields)
        self._submit(Turn(self, group, data, fed), cohort.handles, positions, data)

    def _cohort(self, group: Sequence[Generation]) -> Cohort:
        kind = group[0].kind
        cohort = self._cohorts.get(kind)
        if cohort is None or cohort.generations != group:
            cohort = self._cohorts[kind] = Cohort(group)
        return cohort

    def _goes_on(self, one: Generation, record: StepRecord) -> bool:
        # Else it fails.
        if not self.is_at_home(one):
            return False
        assert one.output is not None  # it has run its prompt, or begins where there is one
        is_lost = bool(is_nan(record, one.output[None])[0])
        if is_lost:
            self.fail(one, CannotGenerate("the model gave what is no number (NaN): nothing follows from it"))
        return not is_lost

    def _submit(self, turn: Turn, handles: U64, positions: I64, data: Array) -> None:
        # `data` is packed, of one row for each of the turn's generations, all of one length.
        group, view = turn.generations, self._worker.runtime.view
        for one in group:
            one.under_way = len(data) // len(group)
        frame = frame_of(view, group[0].spec.outputs, handles, positions, data, self._engine.clock.now(), turn)
        self._worker.admission.admit([frame])

    def is_at_home(self, one: Generation) -> bool:
        """Whether its session is where it left it; else it fails. Whoever has stepped it meanwhile is not to have the
        answer taken for ours."""
        error = self._left_home(one)
        if error:
            self.fail(one, error)
        return error is None

    def _left_home(self, one: Generation) -> ServiceError | None:
        runtime = self._worker.runtime
        sessions = runtime.sessions
        admitted = int(sessions.admitted[one.slot])
        if self.draining:
            return Draining("the server is stopping; reconnect")
        if int(sessions.slots(np.array([one.handle], np.uint64))[0]) != one.slot:
            return runtime.tombstones.of_handle(one.handle) or StaleHandle(
                "the session was attached elsewhere since, or ended; attach again"
            )
        if admitted != one.position:
            return AnswerGone(
                f"somebody else has stepped the session, to position {admitted}", metadata={"position": admitted}
            )
        if runtime.turns[one.slot] != one.turns:
            return AnswerGone("the session was put at another state", metadata={"position": admitted})
        return None

    # ---- what becomes of steps

    def land(self, landed: Sequence[Generation]) -> None:
        """A step of each was applied, or its prompt."""
        listeners = []
        for one in landed:
            one.under_way = 0
            if one.listener is None or one.is_over:
                self._part(one)
            if one.listener is None:
                continue
            if one.is_over:
                self._telling.at_once(one.listener)
            else:
                listeners.append(one.listener)
                self._ready.append(one)
        self._telling.later(listeners)
        self._go_on_soon()

    def fail(self, one: Generation, error: ServiceError) -> None:
        """What comes next of it was refused, or failed. A full queue is no failure once it has begun."""
        one.under_way = 0
        if isinstance(error, LimitReached) and error.retry_seconds is not None and one.has_run_prompt:
            self._put_off(one, error.retry_seconds)
            return
        self._end(one, error)

    def _end(self, one: Generation, error: ServiceError) -> None:
        one.error = error
        self._part(one)
        if one.listener:
            self._telling.at_once(one.listener)

    def _put_off(self, one: Generation, seconds: float) -> None:
        self._engine.loop_calls.put_later(seconds, lambda: self._engine.post(lambda: self.make_ready(one)))

    def end_all(self, error: EngineFailed | Draining) -> None:
        """Ends what runs: the engine has failed, or the server stops, which lets the steps that are queued run."""
        self.draining = True
        for one in self.records.all():
            if not one.is_over and not (one.is_running and isinstance(error, Draining)):
                self.fail(one, error)
