"""What an engine must answer: a plain model that foresees every answer, and checks those that come."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from expected_sessions import Chunk, ExpectedSession, Listener, Received, RowKey, assert_same, kind_of, passed, split
from generated_requests import GenerationRequest
from generating import Generated, check_refused, check_step
from stepped_engine import FakeClock
from toys import Array, Toy

from elman_server import errors as e
from elman_server.exchange.answers import Answer
from elman_server.exchange.frames import Frame, Want
from elman_server.exchange.session_calls.calls import OpenMode, OpenResult

GENERATED = 1 << 3 | Want.LAST << 1
"""What is asked back of a step that is generated."""
Foreseen = type[e.ServiceError] | tuple[ExpectedSession, Chunk]
"""An error, or the answer of a chunk that was run before."""


class ExpectedEngine:
    """Sessions as plain lists of chunks, which are run by torch.nn once the engine says that it has run them."""

    def __init__(self, toy: Toy, clock: FakeClock, replay_chunks: int) -> None:
        self.toy = toy
        self.sessions: dict[str, ExpectedSession] = {}
        self.ended: dict[str, tuple[int, int]] = {}  # expired or evicted, not reopened: handle and position
        self.old_handles: list[int] = []
        self.fails_now = False
        """Whether the computation is made to fail."""
        self._clock = clock
        self._replay_chunks = replay_chunks
        self._received: dict[RowKey, Received] = {}
        self._chunks: dict[RowKey, tuple[ExpectedSession, Chunk]] = {}  # by the row that is to be answered
        self._foreseen: dict[RowKey, Foreseen] = {}

    @property
    def num_queued(self) -> int:
        """Chunks that wait or run."""
        return len(self._chunks)

    # Sessions begin and end.

    def opened(self, opened: OpenResult, mode: OpenMode, there: Collection[str]) -> None:
        """What opening ids gave; `there`: the sessions that there are now."""
        for index, session_id in enumerate(opened.ids):
            error = opened.errors.get(index)
            self._check_opened(session_id, mode, error)
            assert error or session_id in there, "opened, and evicted by the same call"
        for index, session_id in enumerate(opened.ids):
            if index not in opened.errors:
                self._attached(session_id, opened.handles[index], opened.positions[index])
        self._evicted([session_id for session_id in self.sessions if session_id not in there])

    def begun_from(self, source: ExpectedSession, opened: OpenResult, *, shares_answers: bool) -> None:
        """A session that begins where another one is, perhaps with the answers that are held for it."""
        (session_id,), (handle,), now = opened.ids, opened.handles, self._clock.time
        assert not opened.errors
        assert opened.positions == [source.position]
        done = list(source.done) if shares_answers else []
        new = ExpectedSession(session_id, handle, now, source.position, list(source.applied), done=done)
        new.origins = list(source.origins)
        self.sessions[session_id] = new
        self.ended.pop(session_id, None)
        if shares_answers:
            source.used = now

    def handed_over(self, source: ExpectedSession, opened: OpenResult) -> None:
        """A session that begins with the state of another one, at position 0."""
        states = [torch.from_numpy(state) for state in source.states(self.toy, source.position)]
        self._begun(opened, 0, [], tuple(states) if len(states) > 1 else states[0] if states else None)
        source.used = self._clock.time

    def kept(self, opened: OpenResult, rows: Sequence[Array], initial: Sequence[Any]) -> None:
        """Sessions that begin where whole sequences ended, and were attached since; `initial`: what each began with, as
        torch.nn takes it."""
        for index, (row, hx) in enumerate(zip(rows, initial, strict=True)):
            self._begun(opened, index, [row], hx)

    def _begun(self, opened: OpenResult, index: int, applied: list[Array], hx: Any) -> None:
        assert not opened.errors
        session_id, handle, now = opened.ids[index], opened.handles[index], self._clock.time
        position = sum(map(len, applied))
        assert opened.positions[index] == position
        new = ExpectedSession(session_id, handle, now, position, applied, origins=[(0, hx)])
        self.sessions[session_id] = new
        self.ended.pop(session_id, None)

    def _check_opened(self, session_id: str, mode: OpenMode, error: Exception | None) -> None:
        session = self.sessions.get(session_id)
        if session and mode is OpenMode.NEW:
            assert isinstance(error, e.SessionExists)
        elif session and session.closing:
            assert isinstance(error, e.UnknownSession)
        elif session:
            assert error is None
        elif mode is not OpenMode.NEW and session_id in self.ended:
            assert isinstance(error, e.SessionExpired)
            assert error.metadata["position"] == str(self.ended[session_id][1])
        elif mode is OpenMode.RESUME:
            assert isinstance(error, e.UnknownSession)
        else:
            assert error is None or isinstance(error, e.LimitReached)

    def _attached(self, session_id: str, handle: int, position: int) -> None:
        session = self.sessions.get(session_id)
        if session is None:
            session = self.sessions[session_id] = ExpectedSession(session_id, handle, self._clock.time)
            self.ended.pop(session_id, None)
        else:
            session.stale.append(session.handle)
        session.handle, session.used, session.broken = handle, self._clock.time, False
        assert position == session.admitted

    def _evicted(self, gone: list[str]) -> None:
        for session_id in gone:
            session = self.sessions.pop(session_id)
            assert not session.queue
            others = [s for s in self.sessions.values() if not s.queue and s.id not in gone]
            assert all(session.used <= other.used for other in others)
            self._end(session)

    def _end(self, session: ExpectedSession) -> None:
        self.ended[session.id] = (session.handle, session.position)
        self.old_handles += session.stale

    def expired(self, idle_seconds: float) -> None:
        """The sessions that were idle for so long have ended."""
        for session in list(self.sessions.values()):
            if not session.queue and session.used <= self._clock.time - idle_seconds:
                self._end(self.sessions.pop(session.id))

    def closed(self, session: ExpectedSession) -> None:
        """A session was ended by its caller."""
        self.old_handles += [*session.stale, session.handle]
        del self.sessions[session.id]

    # What is asked.

    def foresee(self, frame: Frame, row: int, session: ExpectedSession | None, data: Array) -> None:
        """A row that is handed over, of a session or of one that ended."""
        key = (frame.frame_id, row)
        self._received[key] = Received()
        named = None if frame.positions is None else int(frame.positions[row])
        if session is None:
            self._foreseen[key] = e.SessionExpired
        elif frame.handles[row] != session.handle or session.closing:
            self._foreseen[key] = e.StaleHandle
        elif (data == 99).any() if self.toy.spec.embedding else np.isnan(data).any():
            self._foreseen[key] = e.InvalidInput
        elif named is None and session.broken:
            self._foreseen[key] = e.PredecessorFailed
        elif named is None or named == session.admitted:
            self._admit(frame, key, session, data)
        elif named > session.admitted:
            self._foreseen[key] = e.PositionAhead
        else:
            self._foresee_repeat(frame, key, session, named, len(data))

    def _admit(self, frame: Frame, key: RowKey, session: ExpectedSession, data: Array) -> None:
        chunk = Chunk(session.admitted, data, kind_of(frame), frame.deadline, key, _listener(frame))
        session.queue.append(chunk)
        session.broken, session.used = False, self._clock.time
        self._chunks[key] = (session, chunk)

    def _foresee_repeat(self, frame: Frame, key: RowKey, session: ExpectedSession, begin: int, length: int) -> None:
        def same(chunk: Chunk) -> bool:
            return (chunk.begin, len(chunk.data), chunk.kind) == (begin, length, kind_of(frame))

        for chunk in session.queue:
            if same(chunk):
                self._foreseen[chunk.owner] = e.Superseded
                del self._chunks[chunk.owner]
                chunk.owner, chunk.sink, chunk.deadline = key, _listener(frame), frame.deadline
                self._chunks[key] = (session, chunk)
                return
        held = [chunk for chunk in session.done[-self._replay_chunks :] if same(chunk)]
        self._foreseen[key] = (session, held[0]) if held else e.AnswerGone

    # What is generated.

    def generated(
        self, session: ExpectedSession, prompt: Array | None, wanted: GenerationRequest, told: Generated
    ) -> None:
        """What a session that had nothing queued was told, and its steps are applied."""
        if told.error:
            check_refused(self.toy, session, prompt, told.error)
            return
        assert len(told.steps) == wanted.steps
        assert prompt is not None or session.gave, "it went on from nothing"
        if prompt is not None:
            self._applied_alone(session, prompt)
        for count, step in enumerate(told.steps):
            output = session.run(self.toy, session.done[-1].begin, session.position)[0][-1]
            check_step(self.toy, output, wanted, told, count)
            self._applied_alone(session, np.array([step]))

    def _applied_alone(self, session: ExpectedSession, data: Array) -> None:
        # A chunk like any other, which may be asked for again.
        chunk = Chunk(session.position, data, GENERATED, math.inf, (0, 0), Listener())
        session.queue.append(chunk)
        self._chunks[chunk.owner] = session, chunk
        self._apply(session, chunk)
        session.broken = False

    # What is told.

    def check(self, told: Iterable[tuple[Frame, Answer]], *, in_order: bool = True) -> None:
        """Answers that came; `in_order`: none came before those of earlier batches."""
        touched: dict[RowKey, None] = {}
        for frame, answer in told:
            assert answer.frame_error is None
            touched |= dict.fromkeys(split(frame, answer, self._received))
        keys = list(touched)
        if not in_order:
            keys.sort(key=lambda key: self._chunks[key][1].begin if key in self._chunks else -1)
        failed: dict[str, list[Chunk]] = {}
        for key in keys:
            if key in self._foreseen:
                self._check_foreseen(self._received[key], self._foreseen.pop(key))
            elif key in self._chunks:
                self._check_chunk(key, failed)
        for session_id, chunks in failed.items():
            self._check_failed(self.sessions[session_id], chunks)

    def _check_foreseen(self, received: Received, foreseen: Foreseen) -> None:
        assert received.is_over
        if isinstance(foreseen, tuple):
            session, chunk = foreseen
            assert received.position == chunk.end
            received.check(session.run(self.toy, chunk.begin, chunk.end), chunk.kind)
            if chunk.answer:
                assert_same(received, chunk.answer)
        else:
            assert type(received.error) is foreseen

    def _check_chunk(self, key: RowKey, failed: dict[str, list[Chunk]]) -> None:
        session, chunk = self._chunks[key]
        received = self._received[key]
        if received.error:
            del self._chunks[key]
            failed.setdefault(session.id, []).append(chunk)
            self._check_reason(received.error, chunk)
            return
        assert session.queue[0] is chunk, "a chunk ran before an earlier one of its session"
        assert chunk.begun or not passed(chunk.deadline, self._clock.time), "begun too late"
        chunk.begun = True
        if received.position is not None:
            self._apply(session, chunk)
            assert received.position == chunk.end
            received.check(session.run(self.toy, chunk.begin, chunk.end), chunk.kind)
            chunk.answer = received

    def _apply(self, session: ExpectedSession, chunk: Chunk) -> None:
        del self._chunks[chunk.owner]
        session.queue.remove(chunk)
        session.done.append(chunk)
        session.applied.append(chunk.data)
        session.position, session.used = chunk.end, self._clock.time

    def _check_reason(self, error: e.ServiceError, chunk: Chunk) -> None:
        reasons: dict[type[e.ServiceError], Callable[[], bool]] = {
            e.DeadlinePassed: lambda: passed(chunk.deadline, self._clock.time) and not chunk.begun,
            e.Cancelled: lambda: chunk.sink.gone and not chunk.begun,
            e.EngineFailed: lambda: self.fails_now,
            e.PredecessorFailed: lambda: not chunk.begun,
        }
        assert reasons[type(error)]()

    def _check_failed(self, session: ExpectedSession, failed: list[Chunk]) -> None:
        first = min(session.queue.index(chunk) for chunk in failed)
        assert set(session.queue[first:]) == set(failed), "a chunk after a failed one did not fail with it"
        error = self._received[session.queue[first].owner].error
        assert not isinstance(error, e.PredecessorFailed)
        session.queue = session.queue[:first]
        session.broken = True

    def follow(self, session: ExpectedSession, position: int) -> None:
        """What became of chunks whose caller was cut off, by the position that is told: whole, or not at all."""
        while session.queue and session.queue[0].end <= position:
            del self._received[session.queue[0].owner]
            self._apply(session, session.queue[0])
        assert position == session.position, "a chunk was applied in part, or one that nobody sent"
        assert not any(chunk.begun for chunk in session.queue), "a chunk was begun and not ended"
        for chunk in session.queue:
            del self._chunks[chunk.owner], self._received[chunk.owner]
        session.queue.clear()

    def assert_all_taken_in(self) -> None:
        """Whatever is answered as soon as it is taken in has been."""
        assert not self._foreseen, "an answer is missing"

    def assert_all_told(self) -> None:
        """Nothing is left to be told to anyone who listens."""
        assert not self._chunks
        assert not self._foreseen
        assert all(one.is_over for one in self._received.values())

    def assert_none_waits_for(self, listener: Listener) -> None:
        """Nothing of a caller that went away waits: what has begun alone goes on."""
        assert not [chunk for _, chunk in self._chunks.values() if chunk.sink is listener and not chunk.begun]


def _listener(frame: Frame) -> Listener:
    assert isinstance(frame.sink, Listener)
    return frame.sink
