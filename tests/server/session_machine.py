"""Random lives of sessions: each rule does something to an engine and to plain lists, and compares what is told."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from any_engine import AnyEngine
from expected_engine import ExpectedEngine
from expected_sessions import Chunk, ExpectedSession, Received
from generated_requests import FRAMES, GENERATIONS, IDS, FrameRequest, GenerationRequest, RowRequest
from generating import GENERATING, request_of
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from later import Later
from pending_calls import Closing, Inferring, PendingCalls, row_of
from toys import FED, STEPPED, Array, Toy, pack_rows, random_input, toy

from elman_models import State
from elman_server.exchange.answers import Answer
from elman_server.exchange.frames import Frame
from elman_server.exchange.session_calls.calls import OpenMode
from elman_server.exchange.want import asked_back

IDLE_SECONDS = 50.0
REPLAY = 3
MAX_INFER_ROWS = 8
LIMITS: dict[str, Any] = {
    "max_sessions": 4,
    "when_full": "evict",
    "idle_timeout_seconds": IDLE_SECONDS,
    "max_rows": 3,
    "max_slice": 4,
    "replay_chunks": REPLAY,
    "max_infer_rows": MAX_INFER_ROWS,
}
"""Of the engine: small enough that all of them are met."""
SLICE = 2
"""Of long calls: less than what they are about here."""
SOME_IDS = st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True)
MAX_QUEUED = 40
"""Chunks; with so many no more are sent."""


@dataclass(frozen=True)
class Sending:
    """A row as it is sent: of a session, or of one that ended."""

    session: ExpectedSession | None
    handle: int
    data: Array
    begin: int


SETTINGS = settings(
    stateful_step_count=40,
    deadline=None,
    derandomize=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
"""Of every kind of engine; each says how many examples it takes."""


class SessionMachine(RuleBasedStateMachine):
    """What callers, time and the engine do, in any order."""

    toys: tuple[str, ...] = (*STEPPED, *GENERATING, FED.name)
    """The models to choose from."""

    @abstractmethod
    def make_engine(self, toy: Toy) -> AnyEngine:
        """An engine of that model, under LIMITS."""

    @initialize(pick=st.integers(0, len(toys) - 1), seed=st.integers(0, 999))
    def begin(self, pick: int, seed: int) -> None:
        self.toy = toy(self.toys[pick % len(self.toys)])
        self.rng = np.random.default_rng(seed)
        self.engine = self.make_engine(self.toy)
        self.expected = ExpectedEngine(self.toy, self.engine.clock, REPLAY)
        self.listeners = [self.engine.listener() for _ in range(3)]  # and after them those that went away
        self.calls = PendingCalls(self.toy, self.expected)
        self.open(["a", "b", "c"], OpenMode.NEW)

    # What the callers do.

    @rule(ids=SOME_IDS, mode=st.sampled_from(list(OpenMode)))
    def open(self, ids: list[str], mode: OpenMode) -> None:
        self.engine.clock.time += 1
        if len(self.expected.sessions.keys() | ids) > LIMITS["max_sessions"]:
            ids = ids[:SLICE]  # what a later slice finds depends on whom the ones before evict
        self.expected.opened(self.engine.open(*ids, mode=mode), mode, self.engine.positions())

    @rule(frames=FRAMES)
    def send(self, frames: list[FrameRequest]) -> None:
        if self.expected.num_queued > MAX_QUEUED:
            return
        for wanted in frames:
            self.send_one(wanted)
        self.engine.take_in()
        self.compare()
        self.expected.assert_all_taken_in()

    @rule(frames=FRAMES, turns=st.integers(1, 6))
    def send_and_run(self, frames: list[FrameRequest], turns: int) -> None:
        self.send(frames)
        self.run(turns)

    def send_one(self, wanted: FrameRequest) -> None:
        """Hands a frame over, and foresees its answers."""
        rows = [self._row(session_id, row, wanted) for session_id, row in wanted.rows.items()]
        known = sorted((row for row in rows if row), key=lambda row: -len(row.data))
        if not known:
            return
        is_named = wanted.named or any(row.how == "again" for row in wanted.rows.values())
        frame = self.engine.frame(
            [row.handle for row in known],
            pack_rows([row.data for row in known]),
            [len(row.data) for row in known],
            self.listeners[wanted.sink],
            positions=[row.begin for row in known] if is_named else None,
            want=wanted.want,
            want_state=wanted.state,
            timeout=wanted.timeout,
        )
        self.engine.submit(frame)
        for index, row in enumerate(known):
            self.expected.foresee(frame, index, row.session, row.data)

    def _row(self, session_id: str, row: RowRequest, frame: FrameRequest) -> Sending | None:
        session, data = self.expected.sessions.get(session_id), random_input(self.toy.spec, self.rng, row.steps)
        if session is None:
            ended = self.expected.ended.get(session_id)
            return Sending(None, ended[0], data, 0) if ended else None
        begin = session.admitted
        if row.how == "again" and (chunk := _earlier(session, row.pick)):
            if row.pick < 5:  # else it asks for something else back
                frame.want, frame.state = asked_back(chunk.kind)
            return Sending(session, session.handle, chunk.data, chunk.begin)
        if row.how == "stale" and session.stale:
            return Sending(session, session.stale[-1], data, begin)
        if row.how == "ahead":
            begin += 1 + row.pick
        if row.how == "behind":
            begin = max(0, begin - 1 - row.pick)
        if row.how == "nan":
            data[-1] = 99 if self.toy.spec.embedding else np.nan
        return Sending(session, session.handle, data, begin)

    @rule(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=3), given=st.booleans(), late=st.booleans())
    def infer(self, lengths: list[int], given: bool, late: bool) -> None:
        if self.calls.num_infer_rows + len(lengths) > MAX_INFER_ROWS:
            return
        rows = [random_input(self.toy.spec, self.rng, length) for length in sorted(lengths, reverse=True)]
        initial = self._random_state(len(rows)) if given else None
        answer = self.engine.infer(rows, initial, 0 if late else np.inf)
        self.calls.infers.append(Inferring(rows, initial, late, answer))

    def _random_state(self, rows: int) -> State:
        zeros = State.zeros(self.toy.spec, rows, torch.device("cpu"))
        h, c = (None if z is None else torch.from_numpy(self.rng.random(z.shape, np.float32)) for z in zeros)
        assert h is not None
        return State(h, c)

    @rule(ids=SOME_IDS)
    def close(self, ids: list[str]) -> None:
        answer = self.engine.close(*ids)
        there = [self.expected.sessions.get(session_id) for session_id in ids]
        closing = [None if session is None or session.closing else session for session in there]
        for session in closing:
            if session:
                session.closing = True
        self.calls.closes.append(Closing(closing, answer))
        self.compare()

    @rule(session_id=st.sampled_from(IDS))
    def describe(self, session_id: str) -> None:
        session = self.expected.sessions.get(session_id)
        if session and not session.closing:
            self.calls.views.append((session, self.engine.describe(session_id)))
            self.compare()

    @rule(session_id=st.sampled_from(IDS), name=st.sampled_from("mn"), again=st.booleans())
    def mark_or_rewind(self, session_id: str, name: str, again: bool) -> None:
        """`again`: a mark that is there is made anew."""
        session = self._quiet(session_id)
        if session is None:
            return
        if again or name not in session.marks:
            assert self.engine.mark(session_id, name) == session.position
            session.mark(name)
        else:
            told = self.engine.rewind(session_id, name)
            session.rewind(name)
            assert told == session.position

    @rule(pick=st.integers(0, 3), other=st.sampled_from(IDS), how=st.sampled_from(["fork", "carry", "hand"]))
    def begin_from(self, pick: int, other: str, how: str) -> None:
        session = self._any_quiet(pick)
        if session and session.id != other and self._quiet(other):
            self.close([other])  # and its id is taken again
        is_full = len(self.expected.sessions) >= LIMITS["max_sessions"]
        if session is None or other in self.expected.sessions or is_full:
            return
        self.engine.clock.time += 1
        if how == "hand":
            self.expected.handed_over(session, self.engine.hand_over(session.id, other))
            self.describe(other)
        else:
            opened = (self.engine.fork if how == "fork" else self.engine.carry)(session.id, other)
            self.expected.begun_from(session, opened, shares_answers=how == "fork")

    @rule(ids=SOME_IDS, lengths=st.lists(st.integers(1, 9), min_size=4, max_size=4), given=st.booleans())
    def keep(self, ids: list[str], lengths: list[int], given: bool) -> None:
        """What whole sequences end with goes on as sessions."""
        room = min(LIMITS["max_sessions"] - len(self.expected.sessions), MAX_INFER_ROWS - self.calls.num_infer_rows)
        ids = [one for one in ids if one not in self.expected.sessions][:room]
        if room <= 0 or not ids:
            return
        self.engine.clock.time += 1
        rows = [random_input(self.toy.spec, self.rng, n) for n in sorted(lengths[: len(ids)], reverse=True)]
        initial = self._random_state(len(rows)) if given else None
        told: Later[list[Received]] = Later()
        told.tell(self.engine.keep(ids, rows, initial))
        self.compare(in_order=False)  # others ran beside it
        self.calls.compare_inferred(Inferring(rows, initial, is_late=False, answer=told))
        opened = self.engine.open(*ids, mode=OpenMode.RESUME)
        self.expected.kept(opened, rows, [row_of(initial, row) for row in range(len(rows))])

    @rule(pick=st.integers(0, 3), is_reset=st.booleans())
    def set_or_reset(self, pick: int, is_reset: bool) -> None:
        session = self._any_quiet(pick)
        if session is None:
            return
        state = None if is_reset else self._random_state(1)
        assert self.engine.set_state(session.id, state) == session.position
        session.set_state(row_of(state, 0))

    @rule(pick=st.integers(0, 3), wanted=GENERATIONS)
    def generate(self, pick: int, wanted: GenerationRequest) -> None:
        session = self._any_quiet(pick)
        if session is None:
            return
        prompt = random_input(self.toy.spec, self.rng, wanted.prompt) if wanted.prompt else None
        told = self.engine.generate(request_of(self.toy, session, prompt, wanted), wanted.cut)
        self.compare(in_order=False)  # others ran beside it
        self.expected.generated(session, prompt, wanted, told)

    def _quiet(self, session_id: str) -> ExpectedSession | None:
        """The session of that id, if there is one that has nothing queued."""
        session = self.expected.sessions.get(session_id)
        return None if session is None or session.queue or session.closing else session

    def _any_quiet(self, pick: int) -> ExpectedSession | None:
        quiet = [session for session_id in sorted(self.expected.sessions) if (session := self._quiet(session_id))]
        return quiet[pick % len(quiet)] if quiet else None

    @rule(which=st.integers(0, 2))
    def go_away(self, which: int) -> None:
        leaving = self.listeners[which]
        leaving.gone = True
        self.listeners[which] = self.engine.listener()
        self.listeners.append(leaving)
        self.engine.go_away(leaving)
        self.compare()
        self.expected.assert_none_waits_for(leaving)

    # What time and the engine do.

    @rule(seconds=st.sampled_from([0.5, 2.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.engine.clock.time += seconds

    @rule(seconds=st.sampled_from([0.0, 10.0, 60.0]))
    def expire(self, seconds: float) -> None:
        self.engine.clock.time += seconds
        self.engine.expire()
        self.expected.expired(IDLE_SECONDS)

    @rule(turns=st.integers(1, 8))
    def run(self, turns: int) -> None:
        for _ in range(turns):
            self.engine.pump()
            self.compare()

    @precondition(lambda self: self.expected.num_queued)
    @rule()
    def fail(self) -> None:
        self.expected.fails_now = True
        self.calls.fail()
        self.engine.fail()
        self.compare()
        self.expected.fails_now = False

    # What is compared.

    def compare(self, *, in_order: bool = True) -> None:
        """What was told since; `in_order`: by one turn of the engine."""
        told: list[tuple[Frame, Answer]] = []
        for listener in self.listeners:
            told += listener.told
            listener.told = []
        self.expected.check(told, in_order=in_order)
        self.calls.compare()

    @invariant()
    def old_handles_are_good_for_nothing(self) -> None:
        assert not self.engine.any_good(self.expected.old_handles)

    @invariant()
    def positions_agree(self) -> None:
        there = self.engine.positions()
        foreseen = {s.id: (s.position, s.admitted) for s in self.expected.sessions.values()}
        assert there == foreseen, f"{there} are there, {foreseen} were foreseen"

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        for _ in range(1000):
            self.run(1)
            if not self.expected.num_queued and self.calls.is_empty:
                break
        self.expected.assert_all_told()
        assert self.calls.is_empty
        self.engine.assert_nothing_left()
        self.engine.shut()


def _earlier(session: ExpectedSession, pick: int) -> Chunk | None:
    known = [*session.done, *session.queue, *session.undone]
    return known[-1 - pick % len(known)] if known else None
