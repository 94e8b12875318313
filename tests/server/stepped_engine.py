"""An engine driven by hand: no thread, no event loop, a clock that stands until it is moved."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from expected_sessions import Listener, Received, split
from failing import Failing
from frame_maker import FrameMaker
from generating import Generated
from later import Later, Together
from toys import CPU, Array, Toy, pack_rows

from elman_models import State
from elman_server.config.server_config import Limits
from elman_server.door.elman_v1.read_generate import read_generate
from elman_server.engine.calls.hand_off import HandOffCalls
from elman_server.engine.calls.opening import Opening
from elman_server.engine.calls.sessions import SessionCalls
from elman_server.engine.engine import Engine
from elman_server.engine.expiry import Expiry
from elman_server.exchange.answers import Answer
from elman_server.exchange.frames import Frame, FramePart
from elman_server.exchange.initial import NOTHING_GIVEN, Initial
from elman_server.exchange.session_calls.calls import Closed, OpenMode, OpenResult, Owner, SessionView
from elman_server.exchange.session_calls.exported import Exported
from elman_server.exchange.session_calls.hand_off import HandOff, HandOffRequest
from elman_server.exchange.session_calls.keep import Keep
from elman_server.exchange.slices import slices_of
from elman_server.generating.generators import Asked as Asking
from elman_server.generating.generators import Generators
from elman_server.generating.generators import Listener as GenerationListener
from elman_server.models.catalogue import Catalogue
from elman_server.models.runtime import Runtime
from elman_server.sessions.table import find
from elman_server.telemetry.metrics import Metrics
from elman_server.threads.clock import Clock
from elman_server.threads.tell import Tell

T = TypeVar("T")


class FakeClock(Clock):
    """Stands at `time` until it is moved."""

    def __init__(self, time: float = 1000.0) -> None:
        self.time = time

    def now(self) -> float:
        return self.time

    def wall(self, now: float) -> float:
        return now + 1.0e9


class FakeLoop:
    """Runs at once what is to be run soon."""

    def call_soon_threadsafe(self, function: Callable[..., object], *args: object) -> None:
        function(*args)


class Asked:
    """An asker that keeps what it is told, row by row; a row that ends twice is an error."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.ended: dict[tuple[int, int], Exception | int] = {}  # (frame_id, row) to its error or position
        self.refused: dict[int, Exception] = {}  # by frame_id

    def on_bug(self, frame: Frame, error: Exception) -> None:
        raise error

    def on_result(self, frame: Frame, answer: Answer) -> None:
        self.answers.append(answer)
        if answer.frame_error is not None:
            frame.open_rows = 0
            assert frame.frame_id not in self.refused
            self.refused[frame.frame_id] = answer.frame_error
            return
        frame.open_rows -= answer.num_ended
        for row, position in zip(answer.finished.tolist(), answer.positions.tolist(), strict=True):
            self._end(frame.frame_id, row, position)
        for row, error in answer.errors:
            self._end(frame.frame_id, row, error)

    def _end(self, frame_id: int, row: int, how: Exception | int) -> None:
        assert frame_id not in self.refused
        assert (frame_id, row) not in self.ended, "a row ended twice"
        self.ended[frame_id, row] = how


class Inferred(Later[list[Received]]):
    """The asker of an `Infer`: puts its rows together."""

    def __init__(self, num_rows: int) -> None:
        super().__init__()
        self._rows = [Received() for _ in range(num_rows)]

    def on_bug(self, frame: Frame, error: Exception) -> None:
        raise error

    def on_result(self, frame: Frame, answer: Answer) -> None:
        frame.open_rows -= answer.num_ended
        split(frame, answer, {(frame.frame_id, row): received for row, received in enumerate(self._rows)})
        if not frame.open_rows:
            self.tell(self._rows)


class SteppedEngine:
    """One toy model with its engine."""

    engine_class: type[Engine] = Engine

    def __init__(self, toy: Toy, device: torch.device = CPU, **limits: Any) -> None:
        self.toy = toy
        self.clock = FakeClock()
        self.limits = Limits(**({"max_sessions": 8, "max_queue_rows": 64, "max_infer_rows": 8} | limits))
        self.engine = self.engine_class(cast(Any, FakeLoop()), self.clock)
        self.metrics = Metrics()
        self.catalogue = Catalogue(Path(), self.limits, self.clock, self.metrics)
        self.expiry = Expiry(self.engine, self.catalogue)
        self.runtime = self.catalogue.add(toy.stack(device), self.engine.add)
        self.engine.periodic_jobs.jobs.clear()  # they are done when a test says so
        self.worker = self.engine.worker_of(self.runtime)
        self.directory = self.catalogue.directory(toy.spec.name)
        self.session_calls = SessionCalls(self.directory, self.clock, self.engine.worker_of)
        self.generators = Generators(self.engine, self.catalogue)
        self.frame = FrameMaker(self.clock, self.runtime.view).frame
        self.submitted: list[Frame] = []
        self._failing = Failing.put_into(self.runtime)

    def pump(self, steps: int = 1) -> None:
        """That many turns of the engine's loop, without its waits."""
        for _ in range(steps):
            self.engine.turn()

    def drain(self) -> None:
        """Turns until nothing waits or runs."""
        self.pump()
        for _ in range(10_000):
            if not self.runtime.scheduler.has_work and not self.runtime.queue_rows:
                return
            self.pump()
        raise AssertionError("the engine does not come to an end")

    def do(self, function: Callable[[], T]) -> T:
        """What `function` gives on the engine's thread, after what was submitted before."""
        self.engine._take_in()
        result = function()
        self.engine._answer()
        return result

    def open(self, *ids: str, mode: OpenMode = OpenMode.NEW) -> OpenResult:
        """Opens or resumes sessions, slice by slice."""
        opening = Opening(self.directory, "me", mode, "", self.clock)
        return _joined_opened([self.do(partial(opening.open, some)) for some in slices_of(ids)])

    def close(self, *ids: str) -> Later[Closed]:
        """Ends sessions, each after its queued chunks, slice by slice."""
        return Together([self._close(some) for some in slices_of(ids)], _joined_closed)

    def _close(self, ids: Sequence[str]) -> Later[Closed]:
        closed: Later[Closed] = Later()
        self.do(lambda: self.session_calls.close("me", ids, closed.tell))
        return closed

    def describe(self, session_id: str) -> Later[SessionView]:
        """A session with its state, after its queued chunks."""
        view: Later[SessionView] = Later()
        self.do(lambda: self.session_calls.describe(Owner("me", session_id), True, view.tell))
        return view

    def mark(self, session_id: str, name: str) -> int:
        """Marks a session that has nothing queued; its position."""
        return self._told(lambda tell: self.session_calls.marks.mark(Owner("me", session_id), name, tell))

    def rewind(self, session_id: str, name: str) -> int:
        """Returns such a session to a mark; its position."""
        return self._told(lambda tell: self.session_calls.marks.rewind(Owner("me", session_id), name, tell))

    def set_state(self, session_id: str, state: State | None) -> int:
        """Puts a state in place of that of such a session; None: what the model begins with. Its position."""
        given = _given(state)
        return self._told(lambda tell: self.session_calls.set_state(Owner("me", session_id), lambda _: given, tell))

    def generate(self, request: Any, cut: int | None) -> Generated:
        """Has such a session generate, to its end, or to a cut and then the rest."""
        generated = Generated()
        if cut is not None:
            self._generate(request, generated, cut)
            self.drain()
        if cut is None or not generated.error:
            request.told = len(generated.steps)
            self._generate(request, generated, request.max_steps)
        return generated

    def _generate(self, request: Any, generated: Generated, steps: int) -> None:
        # Adds what a caller is told that goes away after so many steps.
        read = partial(read_generate, request, request.max_steps)
        key = b"the same whatever was told"
        asked = Asking("me", request.session_id, read, key, request.position, request.told)
        listener = GenerationListener(self.engine.loop_calls)
        self.do(lambda: self.generators.ask(self.directory, asked, listener))
        for _ in range(10_000):
            generation = listener.generation
            if listener.error or (generation and (generation.error or generation.count >= steps)):
                break
            self.pump()
        self.do(lambda: self.generators.leave(listener))
        generated.error = listener.error or (generation and generation.error)
        if generation:
            generated.add(generation.steps[request.told :], generation.log_probs[request.told :])

    def fork(self, session_id: str, other: str) -> OpenResult:
        """Begins another session where such a session is."""
        return self._told(lambda tell: self.session_calls.fork(Owner("me", session_id), [other], tell))

    def carry(self, session_id: str, other: str) -> OpenResult:
        """Begins another session from what such a session is exported as."""
        exported: Exported = self._told(lambda tell: self.session_calls.export(Owner("me", session_id), tell))
        return self.do(lambda: self.session_calls.import_session("me", [other], exported, ""))

    def _told(self, ask: Callable[[Tell[T]], None]) -> T:
        told: list[T] = []
        self.do(lambda: ask(lambda function: told.append(function())))
        return told[0]

    def positions(self) -> dict[str, tuple[int, int]]:
        """The sessions that there are: steps applied, and steps admitted."""
        views, _ = self.session_calls.page("me", self.limits.max_sessions, "")
        return {view.session_id: (view.position, view.admitted) for view in views}

    def any_good(self, handles: Sequence[int]) -> bool:
        """Whether one of the handles is good."""
        sessions = self.runtime.sessions
        return bool((find(np.array(handles, np.uint64), sessions.key.rounds, sessions.table) >= 0).any())

    def listener(self) -> Listener:
        """A new caller."""
        return Listener()

    def go_away(self, listener: Listener) -> None:
        """A caller that listens no more."""
        self.engine.cancel([FramePart(frame) for frame in self.submitted if frame.sink is listener])
        self.take_in()

    def infer(self, rows: Sequence[Array], initial: State | None, timeout: float) -> Inferred:
        """Whole sequences without sessions, longest first, and what becomes of each."""
        inferred = Inferred(len(rows))
        lengths = [len(row) for row in rows]
        frame = self.frame([], pack_rows(list(rows)), lengths, inferred, want_state=True, timeout=timeout)
        self.do(lambda: self.worker.admission.admit_infer(frame, _given(initial)))
        return inferred

    def hand_over(self, session_id: str, other: str) -> OpenResult:
        """Begins another session from the state of such a session, at position 0."""
        calls = HandOffCalls(self.directory, self.clock)
        wanted, hand_off = HandOffRequest("me", [other], "", NOTHING_GIVEN, False), HandOff(self.toy.spec.name)
        return self._told(
            lambda tell: calls.from_sessions(wanted, self.directory, [Owner("me", session_id)], hand_off, tell)
        )

    def keep(self, ids: Sequence[str], rows: Sequence[Array], initial: State | None) -> list[Received]:
        """Runs whole sequences, longest first, to their ends, and keeps each one's state as a session."""
        keeping = self.catalogue.keeping(self.runtime, Keep("me", ids, ""))
        self.do(keeping.check)
        inferred = self.infer(rows, initial, math.inf)
        self.drain()
        received = inferred.now()
        both = ([one.h_n for one in received], [one.c_n for one in received])
        states = [np.stack(cast(list[Array], one), axis=1) for one in both if one[0] is not None]
        self.do(lambda: keeping.keep(states, np.array([len(row) for row in rows]), {}))
        return received

    def take_in(self) -> None:
        """Takes in what was handed over."""
        self.do(lambda: None)

    def fail(self) -> None:
        """A turn whose computation fails."""
        with self._failing.failing():
            self.pump()

    def expire(self) -> None:
        """What the engine does now and then."""
        self.do(lambda: self.expiry.look(self.clock.now()))
        while math.isinf(self.runtime.next_expiry):
            self.take_in()  # the next slice

    def submit(self, frame: Frame) -> Frame:
        """Hands it over; it is taken in at the next turn."""
        self.submitted.append(frame)
        self.engine.submit(self.worker, frame)
        return frame

    def assert_nothing_left(self) -> None:
        """Every table is as it was at the start, but for open sessions."""
        assert_nothing_left(self.runtime)

    def shut(self) -> None:
        """Nothing is asked any more."""


def _joined_opened(parts: Sequence[OpenResult]) -> OpenResult:
    whole = OpenResult.empty([])
    for part in parts:
        whole.errors |= {len(whole.ids) + index: error for index, error in part.errors.items()}
        whole.ids = [*whole.ids, *part.ids]
        whole.handles += part.handles
        whole.positions += part.positions
        whole.versions += part.versions
        whole.resumed += part.resumed
    return whole


def _joined_closed(parts: Sequence[Closed]) -> Closed:
    whole = Closed([])
    for part in parts:
        whole.errors |= {len(whole.positions) + index: error for index, error in part.errors.items()}
        whole.positions += part.positions
    return whole


def assert_nothing_left(runtime: Runtime) -> None:
    """Every table of a model is as it was at the start, but for open sessions."""
    assert runtime.scheduler.chunks.free.num_taken == 0
    assert not runtime.scheduler.chunks["live"].any()
    assert runtime.scheduler.form(0.0).batch is None  # sessions whose chunks failed may stand in line until then
    assert not runtime.scheduler.has_work
    assert not runtime.frames
    assert not runtime.inputs.blocks
    assert runtime.borrowed == 0
    assert runtime.queue_bytes == 0
    assert runtime.after == {}
    assert runtime.starting_states == {}
    sessions = runtime.sessions
    assert sessions.num_free == sessions.num_slots - sessions.num_open
    free = sessions._free[: sessions.num_free].tolist()
    taken = sessions.everyone().tolist()
    assert sorted(free + taken) == list(range(sessions.num_slots))
    assert len(runtime.scheduler.queues.line) == 0


def _given(initial: State | None) -> Initial:
    return NOTHING_GIVEN if initial is None else Initial(tuple(tensor.numpy() for tensor in initial.tensors))
