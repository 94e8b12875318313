"""Random lives of sessions, in an engine stepped by hand, against torch.nn on their whole sequences."""

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from plain_sessions import Chunk, Listener, Plain, Received, RowKey, passed, split
from stepped import Bench
from toys import STEPPED, Array, assert_near, random_input, toy

from elman_models import Packed, State
from elman_server import errors as e
from elman_server.families import OpenMode
from elman_server.frames import Frame, Want
from elman_server.lifecycle import Closed, SessionView
from elman_server.sessions import Owner

IDS = tuple("abcdefg")
IDLE_SECONDS = 50.0
REPLAY = 3

Choice = st.fixed_dictionaries(
    {
        "how": st.sampled_from(["next"] * 6 + ["again"] * 3 + ["ahead", "behind", "stale", "nan"]),
        "pick": st.integers(0, 5),
        "steps": st.one_of(st.integers(1, 3), st.integers(1, 11)),
    }
)
Frames = st.lists(
    st.fixed_dictionaries(
        {
            "rows": st.dictionaries(st.sampled_from(IDS), Choice, min_size=1, max_size=5),
            "named": st.booleans(),
            "want": st.sampled_from(list(Want)),
            "state": st.booleans(),
            "timeout": st.sampled_from([math.inf] * 8 + [0.0, 3.0]),
            "asker": st.integers(0, 2),
        }
    ),
    min_size=1,
    max_size=3,
)


class Failing:
    """A stack that fails when it is told to."""

    def __init__(self, stack: Any) -> None:
        self._stack = stack
        self.fails = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stack, name)

    def step(self, packed: Packed, state: State) -> tuple[torch.Tensor, State]:
        if self.fails:
            state.h.fill_(math.nan)
            raise RuntimeError("injected")
        return self._stack.step(packed, state)


class EngineMachine(RuleBasedStateMachine):
    """Each rule does something to the engine and to plain lists, and compares what the engine says."""

    @initialize(name=st.sampled_from(STEPPED), seed=st.integers(0, 999))
    def begin(self, name: str, seed: int) -> None:
        self.toy = toy(name)
        self.rng = np.random.default_rng(seed)
        self.bench = Bench(
            self.toy,
            max_sessions=4,
            when_full="evict",
            idle_timeout_seconds=IDLE_SECONDS,
            max_rows=3,
            max_slice=4,
            replay_chunks=REPLAY,
        )
        self.stack = Failing(self.bench.runtime.stack)
        self.bench.runtime.stack = self.stack  # type: ignore[assignment]
        self.sessions: dict[str, Plain] = {}
        self.ended: dict[str, tuple[int, int]] = {}  # expired or evicted, not reopened: handle and position
        self.old_handles: list[int] = []
        self.listeners = [Listener() for _ in range(3)]
        self.received: dict[RowKey, Received] = {}
        self.chunks: dict[RowKey, tuple[Plain, Chunk]] = {}  # by the row that is to be answered
        self.expect: dict[RowKey, type[e.ServiceError] | tuple[Plain, Chunk]] = {}
        self.infers: dict[int, tuple[Frame, list[Array], State | None]] = {}
        self.closed: list[tuple[Plain, list[Closed]]] = []
        self.views: list[tuple[Plain, list[SessionView]]] = []
        self.failed_now = False

        self.open(["a", "b", "c"], OpenMode.NEW)

    # What the callers do.

    @rule(ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=3, unique=True), mode=st.sampled_from(list(OpenMode)))
    def open(self, ids: list[str], mode: OpenMode) -> None:
        self.bench.clock.time += 1
        opened = self.bench.open(*ids, mode=mode)
        fresh = [i for i in ids if i not in self.sessions]
        for index, session_id in enumerate(ids):
            error = opened.errors.get(index)
            self._check_opened(session_id, mode, error, session_id in fresh)
            assert error or self._is_there(session_id), "opened, and evicted by the same call"
        for index, session_id in enumerate(ids):
            error = opened.errors.get(index)
            if error is None:
                self._opened(session_id, opened.handles[index], opened.positions[index])
        self._check_evicted([i for i in self.sessions if not self._is_there(i)])

    def _is_there(self, session_id: str) -> bool:
        return session_id in self.bench.family._places.get("me", {})

    def _check_opened(self, session_id: str, mode: OpenMode, error: Exception | None, fresh: bool) -> None:
        if not fresh and mode is OpenMode.NEW:
            assert isinstance(error, e.SessionExists)
        elif not fresh and self.sessions[session_id].closing:
            assert isinstance(error, e.UnknownSession)
        elif fresh and mode is not OpenMode.NEW and session_id in self.ended:
            assert isinstance(error, e.SessionExpired)
            assert error.metadata["position"] == str(self.ended[session_id][1])
        elif fresh and mode is OpenMode.RESUME:
            assert isinstance(error, e.UnknownSession)
        elif fresh:
            assert error is None or isinstance(error, e.LimitReached)
        else:
            assert error is None

    def _opened(self, session_id: str, handle: int, position: int) -> None:
        session = self.sessions.get(session_id)
        if session is None:
            session = self.sessions[session_id] = Plain(session_id, handle, self.bench.clock.time)
            self.ended.pop(session_id, None)
        else:
            session.stale.append(session.handle)
        session.handle, session.used, session.broken = handle, self.bench.clock.time, False
        assert position == session.admitted

    def _check_evicted(self, gone: list[str]) -> None:
        for session_id in gone:
            session = self.sessions.pop(session_id)
            assert not session.queue
            others = [s for s in self.sessions.values() if not s.queue and s.id not in gone]
            assert all(session.used <= other.used for other in others)
            self._end(session)

    def _end(self, session: Plain) -> None:
        self.ended[session.id] = (session.handle, session.position)
        self.old_handles += session.stale

    @rule(frames=Frames)
    def send(self, frames: list[dict[str, Any]]) -> None:
        if self.bench.runtime.queue_rows > 40:
            return
        for wish in frames:
            self._send(wish)
        self.bench.do(lambda: None)
        self._compare()
        assert not self.expect, "an answer is missing"

    @rule(frames=Frames, turns=st.integers(1, 6))
    def send_and_run(self, frames: list[dict[str, Any]], turns: int) -> None:
        self.send(frames)
        self.run(turns)

    def _send(self, wish: dict[str, Any]) -> None:
        wish["named"] |= any(choice["how"] == "again" for choice in wish["rows"].values())
        rows = [(self.sessions.get(i), i, choice) for i, choice in wish["rows"].items()]
        known = [(self._row(s, i, choice, wish), s, choice) for s, i, choice in rows if s or i in self.ended]
        if not known:
            return
        known.sort(key=lambda row: -len(row[0][1]))
        handles = [handle for (handle, _, _), _, _ in known]
        data = [row for (_, row, _), _, _ in known]
        begins = [begin for (_, _, begin), _, _ in known]
        asker = self.listeners[wish["asker"]]
        packed = np.stack([row[t] for t in range(len(data[0])) for row in data if t < len(row)])
        frame = self.bench.frame(
            handles,
            packed,
            [len(row) for row in data],
            asker,  # type: ignore[arg-type]
            positions=begins if wish["named"] else None,
            want=wish["want"],
            want_state=wish["state"],
            timeout=wish["timeout"],
        )
        self.bench.submit(frame)
        for row, (_, session, _) in enumerate(known):
            self.received[frame.frame_id, row] = Received()
            named = begins[row] if wish["named"] else None
            self._foresee(frame, row, session, handles[row], data[row], named)

    def _row(
        self, session: Plain | None, session_id: str, choice: dict[str, Any], wish: dict[str, Any]
    ) -> tuple[int, Array, int]:
        # Handle, data and position of a row as wished.
        how, spec = choice["how"], self.toy.spec
        data = random_input(spec, self.rng, choice["steps"])
        if session is None:
            return self.ended[session_id][0], data, 0
        begin = session.admitted
        chunk = self._repeated(session, choice)
        if chunk:
            if choice["pick"] < 5:  # else it asks for something else back
                wish["want"], wish["state"] = Want(chunk.kind // 2), bool(chunk.kind % 2)
            return session.handle, chunk.data, chunk.begin
        if how == "ahead":
            begin += 1 + choice["pick"]
        if how == "behind":
            begin = max(0, begin - 1 - choice["pick"])
        if how == "nan":
            data[-1] = 99 if spec.embedding else math.nan
        if how == "stale" and session.stale:
            return session.stale[-1], data, begin
        return session.handle, data, begin

    def _repeated(self, session: Plain, choice: dict[str, Any]) -> Chunk | None:
        known = [*session.done, *session.queue]
        return known[-1 - choice["pick"] % len(known)] if choice["how"] == "again" and known else None

    def _foresee(
        self, frame: Frame, row: int, session: Plain | None, handle: int, data: Array, named: int | None
    ) -> None:
        key = (frame.frame_id, row)
        if session is None:
            self.expect[key] = e.SessionExpired
        elif handle != session.handle or session.closing:
            self.expect[key] = e.StaleHandle
        elif (data == 99).any() if self.toy.spec.embedding else np.isnan(data).any():
            self.expect[key] = e.InvalidInput
        elif named is None and session.broken:
            self.expect[key] = e.PredecessorFailed
        elif named is None or named == session.admitted:
            self._admit(frame, key, session, data)
        elif named > session.admitted:
            self.expect[key] = e.PositionAhead
        else:
            self._foresee_repeat(frame, key, session, named, len(data))

    def _admit(self, frame: Frame, key: RowKey, session: Plain, data: Array) -> None:
        asker: Any = frame.asker
        chunk = Chunk(session.admitted, data, frame.kind, frame.deadline, key, asker)
        session.queue.append(chunk)
        session.broken, session.used = False, self.bench.clock.time
        self.chunks[key] = (session, chunk)

    def _foresee_repeat(self, frame: Frame, key: RowKey, session: Plain, begin: int, length: int) -> None:
        def same(chunk: Chunk) -> bool:
            return (chunk.begin, len(chunk.data), chunk.kind) == (begin, length, frame.kind)

        for chunk in session.queue:
            if same(chunk):
                asker: Any = frame.asker
                self.expect[chunk.owner] = e.Superseded
                del self.chunks[chunk.owner]
                chunk.owner, chunk.asker, chunk.deadline = key, asker, frame.deadline
                self.chunks[key] = (session, chunk)
                return
        held = [chunk for chunk in session.done[-REPLAY:] if same(chunk)]
        self.expect[key] = (session, held[0]) if held else e.AnswerGone

    @rule(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=3), given=st.booleans(), late=st.booleans())
    def infer(self, lengths: list[int], given: bool, late: bool) -> None:
        if self.bench.runtime.borrowed + len(lengths) > 8:
            return
        lengths.sort(reverse=True)
        rows = [random_input(self.toy.spec, self.rng, length) for length in lengths]
        packed = np.stack([row[t] for t in range(lengths[0]) for row in rows if t < len(row)])
        listener: Any = Listener()
        self.listeners.append(listener)
        frame = self.bench.frame([], packed, lengths, listener, want_state=True, timeout=0 if late else math.inf)
        zeros = State.zeros(self.toy.spec, len(rows), torch.device("cpu"))
        c = None if zeros.c is None else torch.rand_like(zeros.c)
        initial = State(torch.rand_like(zeros.h), c) if given else None
        self.infers[frame.frame_id] = (frame, rows, initial)
        for row in range(len(rows)):
            self.received[frame.frame_id, row] = Received()
        self.bench.do(lambda: self.bench.worker.admission.admit_infer(frame, initial))

    @rule(session_id=st.sampled_from(IDS))
    def close(self, session_id: str) -> None:
        told: list[Closed] = []
        self.bench.do(lambda: self.bench.lifecycle.close("me", [session_id], told.append))
        session = self.sessions.get(session_id)
        if session is None or session.closing:
            assert isinstance(told[0].errors[0], (e.UnknownSession, e.SessionExpired))
            return
        session.closing = True
        self.closed.append((session, told))
        self._compare()

    @rule(session_id=st.sampled_from(IDS))
    def describe(self, session_id: str) -> None:
        session = self.sessions.get(session_id)
        if session and not session.closing:
            told: list[SessionView] = []
            owner = Owner("me", session_id)
            self.bench.do(lambda: self.bench.lifecycle.describe(owner, True, told.append))
            self.views.append((session, told))
            self._compare()

    @rule(which=st.integers(0, 2))
    def go_away(self, which: int) -> None:
        asker: Any = self.listeners[which]
        asker.gone = True
        self.listeners[which] = Listener()
        self.listeners.append(asker)
        self.bench.engine.cancel(asker)
        self.bench.do(lambda: None)
        self._compare()
        assert not [c for _, c in self.chunks.values() if c.asker is asker and not c.begun]

    # What time and the engine do.

    @rule(seconds=st.sampled_from([0.5, 2.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.bench.clock.time += seconds

    @rule()
    def expire(self) -> None:
        now = self.bench.clock.time
        self.bench.expire()
        for session in list(self.sessions.values()):
            if not session.queue and session.used <= now - IDLE_SECONDS:
                self._end(self.sessions.pop(session.id))
            assert self._is_there(session.id) == (session.id in self.sessions)

    @rule(turns=st.integers(1, 8))
    def run(self, turns: int) -> None:
        for _ in range(turns):
            self.bench.pump()
            self._compare()

    @precondition(lambda self: self.bench.runtime.scheduler.has_work)
    @rule()
    def fail(self) -> None:
        self.stack.fails = self.failed_now = True
        logging.disable()  # a page for each failure
        self.bench.pump()
        logging.disable(logging.NOTSET)
        self._compare()
        self.stack.fails = self.failed_now = False

    # What is compared.

    def _compare(self) -> None:
        touched: list[RowKey] = []
        for listener in self.listeners:
            told, listener.told = listener.told, []
            for frame, answer in told:
                assert answer.frame_error is None
                touched += split(frame, answer, self.received)
        failed: dict[str, list[Chunk]] = {}
        for key in dict.fromkeys(touched):
            if key in self.expect:
                self._compare_foreseen(key, self.expect.pop(key))
            elif key in self.chunks:
                self._compare_chunk(key, failed)
        for session_id, chunks in failed.items():
            self._compare_failed(self.sessions[session_id], chunks)
        self._compare_infers()
        self._compare_callbacks()

    def _compare_foreseen(self, key: RowKey, expected: type[e.ServiceError] | tuple[Plain, Chunk]) -> None:
        received = self.received[key]
        assert received.is_over
        if isinstance(expected, tuple):
            session, chunk = expected
            assert received.position == chunk.end
            received.check(self.toy, session.sequence(chunk.end), chunk.begin, chunk.kind)
        else:
            assert type(received.error) is expected

    def _compare_chunk(self, key: RowKey, failed: dict[str, list[Chunk]]) -> None:
        session, chunk = self.chunks[key]
        received = self.received[key]
        if received.error:
            del self.chunks[key]
            failed.setdefault(session.id, []).append(chunk)
            self._check_reason(received.error, chunk)
            return
        assert session.queue[0] is chunk, "a chunk ran before an earlier one of its session"
        chunk.begun = True
        if received.position is not None:
            del self.chunks[key]
            session.queue.remove(chunk)
            session.done.append(chunk)
            session.applied.append(chunk.data)
            session.position = chunk.end
            assert received.position == chunk.end
            received.check(self.toy, session.sequence(chunk.end), chunk.begin, chunk.kind)

    def _check_reason(self, error: e.ServiceError, chunk: Chunk) -> None:
        reasons: dict[type[e.ServiceError], Callable[[], bool]] = {
            e.DeadlinePassed: lambda: passed(chunk.deadline, self.bench.clock.time) and not chunk.begun,
            e.Cancelled: lambda: chunk.asker.gone and not chunk.begun,
            e.EngineFailed: lambda: self.failed_now,
            e.PredecessorFailed: lambda: not chunk.begun,
        }
        assert reasons[type(error)]()

    def _compare_failed(self, session: Plain, failed: list[Chunk]) -> None:
        first = min(session.queue.index(chunk) for chunk in failed)
        assert set(session.queue[first:]) == set(failed), "a chunk after a failed one did not fail with it"
        error = self.received[session.queue[first].owner].error
        assert not isinstance(error, e.PredecessorFailed)
        session.queue = session.queue[:first]
        session.broken = True

    def _compare_infers(self) -> None:
        for frame_id, (frame, rows, initial) in list(self.infers.items()):
            received = [self.received[frame_id, row] for row in range(len(rows))]
            for row, one in enumerate(received):
                if one.position is not None:
                    hx = (
                        None
                        if initial is None
                        else (initial.h[:, row], None if initial.c is None else initial.c[:, row])
                    )
                    output, h_n, _ = self.toy.run(rows[row], hx if initial is None or initial.c is not None else hx[0])
                    assert_near(np.stack(one.steps), output)
                    assert_near(one.h_n, h_n)
                if one.error:
                    late = passed(frame.deadline, self.bench.clock.time)
                    assert isinstance(one.error, e.DeadlinePassed) if late else isinstance(one.error, e.EngineFailed)
            if all(one.is_over for one in received):
                del self.infers[frame_id]

    def _compare_callbacks(self) -> None:
        for session, told in list(self.closed):
            assert bool(told) == (not session.queue)
            if told:
                assert told[0].positions == [session.position]
                self.closed.remove((session, told))
                self.old_handles += [*session.stale, session.handle]
                del self.sessions[session.id]
        for session, views in list(self.views):
            if views:
                (view,) = views
                assert view.position <= session.position
                assert view.state is not None
                if view.position:
                    _, h_n, _ = self.toy.run(session.sequence(view.position))
                    assert_near(view.state.h[:, 0].numpy(), h_n)
                self.views.remove((session, views))

    @invariant()
    def old_handles_are_good_for_nothing(self) -> None:
        if getattr(self, "old_handles", None):
            _, good = self.bench.runtime.sessions.resolve(np.array(self.old_handles, np.uint64))
            assert not good.any()

    @invariant()
    def positions_agree(self) -> None:
        for session in getattr(self, "sessions", {}).values():
            slot = self.bench.family._place(self.bench.family._places["me"][session.id]).slot
            runtime = self.bench.runtime
            assert runtime.sessions.position[slot] == session.position
            assert runtime.sessions.admitted[slot] == session.admitted

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        self.stack.fails = False
        for _ in range(1000):
            self.bench.pump()
            self._compare()
            if not self.bench.runtime.queue_rows and not self.bench.runtime.scheduler.has_work:
                break
        assert not self.chunks
        assert not self.infers
        assert not self.closed
        assert not self.views
        assert all(one.is_over for one in self.received.values())
        self.bench.assert_nothing_left()


EngineMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
TestSessionsAgreeWithTorch = pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")(
    EngineMachine.TestCase
)
