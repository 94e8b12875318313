"""A beam search on the server: the sequences that are kept are sessions of their own, forked from one that stays."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elman_models.generation.beams import BeamSearch, Hypothesis
from elman_models.generation.sampling import log_softmax
from elman_server.engine.calls.sessions import SessionCalls
from elman_server.errors import RETRY_SECONDS, LimitReached, ServiceError
from elman_server.exchange.answers import Answer
from elman_server.exchange.frames import Frame
from elman_server.exchange.session_calls.ids import make_id
from elman_server.generating.feeding import logits_of, token_input
from elman_server.generating.frames import frame_of
from elman_server.generating.generation import Generation, bug
from elman_server.generating.spec import FeedbackKind
from elman_server.models.directory import SessionDirectory, SessionLocation

if TYPE_CHECKING:
    from elman_server.generating.generator import Generator

Array = NDArray[Any]
log = logging.getLogger(__name__)

PRINCIPAL = "elman:beams"
"""Whose sessions they are: nobody's who could ask for them."""


class Beams:
    """One search. On the engine's thread. It reads and writes states in the pool, by slot; none leaves the device."""

    def __init__(self, generator: "Generator", directory: SessionDirectory, generation: Generation) -> None:
        """Forks the sessions that it needs.

        Raises:
            LimitReached: there is no room for them.
        """
        spec = generation.spec
        self._generator = generator
        self._runtime = generator.worker.runtime
        self._directory = directory
        self._generation = generation
        self._search = BeamSearch(spec.beams, spec.max_steps, spec.length_penalty, spec.stop, spec.stop_sequences)
        self._base = generation.position  # before the first token
        self._outputs: dict[int, Array] = {}  # by row
        self._num_rows = 1
        self._ids = [make_id() for _ in range(spec.beams)]
        self._fork(SessionLocation(self._runtime, generation.slot))
        generation.search = self

    def begin(self) -> None:
        """Goes on from the generation's last output."""
        output = self._generation.output
        assert output is not None  # it has run its prompt, or begins where there is one
        self._outputs[0] = output
        self._go_on()

    def on_result(self, frame: Frame, answer: Answer) -> None:
        """Takes a part of what the live ones gave."""
        if self._generation.search is not self:
            return  # a part before it has ended it
        error = answer.frame_error or (answer.errors[0][1] if answer.errors else None)
        if error:
            self._fail(error)
        elif answer.output is not None:
            for row, output in zip(answer.finished.tolist(), answer.output.copy(), strict=True):
                self._outputs[row] = output
            if len(self._outputs) == self._num_rows:
                self._generator.engine.post(self._go_on)

    def on_bug(self, frame: Frame, error: Exception) -> None:
        """Ends it."""
        if self._generation.search is self:
            self._fail(bug(error))

    def _fork(self, place: SessionLocation) -> None:
        opened = self._directory.fork(place, PRINCIPAL, self._ids, self._now)
        self._handles = np.array(opened.handles, np.uint64)
        self._slots = self._runtime.sessions.slots(self._handles)
        if opened.errors:
            self._end_sessions()
            raise next(iter(opened.errors.values()))

    @property
    def _now(self) -> float:
        return self._generator.engine.clock.now()

    def _go_on(self) -> None:
        one = self._generation
        if one.listener is None or one.is_over or not self._generator.is_at_home(one):
            self._end_sessions()  # it begins anew if it is asked for again
            return
        if not (
            self._runtime.sessions.slots(self._handles) == self._slots
        ).all():  # evicted or moved: they are idle now
            self._fail(LimitReached("the beams' sessions were ended for others", retry_seconds=RETRY_SECONDS))
            return
        try:
            self._advance()
        except Exception as error:
            log.exception("a bug in a beam search")
            self._fail(bug(error))

    def _advance(self) -> None:
        outputs = np.stack([self._outputs[row] for row in range(self._num_rows)])
        self._outputs.clear()
        chosen = self._search.advance(self._log_probs(outputs))
        parents = []
        for parent, one, has_ended in chosen:
            if not has_ended:
                parents.append(parent)
            elif self._search.is_good(one):
                self._search.end(one, self._runtime.pool.read(self._slots[[parent]]))
        if self._search.is_over:
            self._finish()
        else:
            self._step(parents)

    def _log_probs(self, outputs: Array) -> NDArray[np.float64]:
        spec, view = self._generation.spec, self._runtime.view
        record = view.output.part(spec.outputs)
        given = dict(zip(record.names, record.tensors(outputs), strict=True))
        logits = logits_of(self._feedback, given).astype(np.float64)
        for token, bias in spec.rules.logit_bias.items():
            logits[:, token] += bias
        return log_softmax(logits)

    @property
    def _feedback(self) -> Any:
        return next(one for one in self._generation.spec.feedback if one.kind is FeedbackKind.TOKENS)

    def _step(self, parents: Sequence[int]) -> None:
        # The live ones go on from their parents' states.
        live, count = self._search.live, len(parents)
        slots, pool, sessions = self._slots[:count], self._runtime.pool, self._runtime.sessions
        pool.replace(slots, pool.read(self._slots[: self._num_rows]).rows(parents))
        position = self._base + len(live[0].tokens) - 1
        sessions.position[slots] = sessions.admitted[slots] = position
        self._num_rows = count
        data = self._data([one.tokens[-1] for one in live], len(live[0].tokens) - 1)
        self._submit(self._handles[:count], position, data, self)

    def _data(self, tokens: Sequence[int], depth: int) -> Array:
        view, given = self._runtime.view, self._generation.spec.given
        fed = token_input(self._feedback, np.array(tokens, np.int64))
        fields = [
            np.repeat(given[one.name][depth : depth + 1], len(tokens), axis=0) if one.name in given else fed
            for one in view.input.fields
        ]
        return view.input.joined(fields)

    def _submit(self, handles: NDArray[np.uint64], position: int, data: Array, sink: Any) -> None:
        frame = frame_of(
            self._runtime.view,
            self._generation.spec.outputs,
            handles,
            np.full(len(handles), position, np.int64),
            data,
            self._now,
            sink,
        )
        self._generator.worker.admission.admit([frame])

    def _finish(self) -> None:
        # The session takes the best one's state before its last token, and then that token as any step.
        self._end_sessions()
        one, best = self._generation, self._search.ended[0]
        steps = [self._data([token], depth)[0] for depth, token in enumerate(best.tokens)]
        last = _LastStep(self._generator, one, self._search.ended, steps)
        one.under_way = len(steps)
        self._submit(np.array([one.handle], np.uint64), self._base + len(steps) - 1, steps[-1][None], last)

    def _fail(self, error: ServiceError) -> None:
        self._end_sessions()
        if not self._generation.is_over:
            self._generator.fail(self._generation, error)

    def _end_sessions(self) -> None:
        # By their ids, behind what is queued for them: they may have moved, and may have steps of a frame that failed.
        if self._generation.search is self:
            self._generation.search = None
        generator = self._generator
        calls = SessionCalls(self._directory, generator.engine.clock, lambda _: generator.worker)
        calls.close(PRINCIPAL, self._ids, lambda _: None)


class _LastStep:
    """The last step of the best one, which the session takes; until it is applied nothing is."""

    def __init__(
        self, generator: "Generator", generation: Generation, ended: list[Hypothesis], steps: Sequence[Array]
    ) -> None:
        runtime, slots = generator.worker.runtime, np.array([generation.slot])
        self._generator = generator
        self._generation = generation
        self._ended = ended
        self._steps = steps
        self._before = runtime.pool.read(slots)
        runtime.pool.replace(slots, ended[0].kept)
        self._move(generation.position + len(steps) - 1)

    def on_result(self, frame: Frame, answer: Answer) -> None:
        """It was applied, or not."""
        error = answer.frame_error or (answer.errors[0][1] if answer.errors else None)
        if error:
            self._fail(error)
        elif answer.output is not None and len(answer.finished):
            one = self._generation
            plain = one.spec.takes_ids_alone
            one.add_all([int(step) for step in self._steps] if plain else self._steps, self._ended)
            one.output = answer.output[0].copy()
            self._generator.land([one])

    def on_bug(self, frame: Frame, error: Exception) -> None:
        """Nobody knows."""
        self._fail(bug(error))

    def _fail(self, error: ServiceError) -> None:
        one, sessions = self._generation, self._generator.worker.runtime.sessions
        slots = np.array([one.slot])
        if sessions.are_attached(slots).all() and float(sessions.created[one.slot]) == one.created:  # it is there yet
            self._generator.worker.runtime.pool.replace(slots, self._before)
            self._move(one.position)
        self._generator.fail(one, error)

    def _move(self, position: int) -> None:
        sessions, slot = self._generator.worker.runtime.sessions, self._generation.slot
        sessions.position[slot] = sessions.admitted[slot] = position
