"""The fake server's sessions: ids, handles, positions, answers held for a repeat."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from elman.testing._model import FakeModel, Values
from elman.testing._refusal import Refusal
from elman.v1 import tensor_pb2

REPLAY_CHUNKS = 8
MAX_MARKS = 16
IDLE_TIMEOUT = timedelta(hours=1)


@dataclass(frozen=True)
class HeldAnswer:
    """The answer of a chunk."""

    asked: tuple[int, int, bool]  # length, returning, return_state
    outputs: Values  # [T, num_outputs]
    state: Values  # [state_size]
    position: int
    has_cell_state: bool


@dataclass
class FakeSession:
    """One sequence."""

    id: str
    model: FakeModel
    state: Values
    number: int  # in the order in which they began
    create_time: datetime = field(default_factory=lambda: datetime.now(UTC))
    use_time: datetime = field(default_factory=lambda: datetime.now(UTC))
    handle: int = 0
    position: int = 0
    has_ended: bool = False
    ends_with_stream: bool = False
    failed_end: int = 0  # where the chunks end that failed since the last good one
    held: OrderedDict[int, HeldAnswer] = field(default_factory=OrderedDict)
    last_output: Values | None = None  # what it gave last, unless none was asked for
    generation: object = None  # the newest, that it may be asked for again
    request_id: str = ""  # of the request that made it; empty: it has no name
    marks: dict[str, tuple[int, Values]] = field(default_factory=dict)  # position and state, by name

    def step(self, begin: int, values: npt.NDArray[np.generic], asked: tuple[int, int, bool]) -> HeldAnswer:
        """Applies a chunk, or answers it again."""
        self.use_time = datetime.now(UTC)
        if begin < self.position:
            return self._again(begin, asked)
        if begin > self.position:
            raise self._ahead(begin, len(values))
        if error := self.model.bad_value(values):
            self.failed_end = begin + len(values)
            raise Refusal("INVALID_INPUT", error)
        outputs = self.run(values)
        if asked[1] == tensor_pb2.RETURN_NONE:
            self.last_output = None
        self.held[begin] = HeldAnswer(asked, outputs, self.state, self.position, self.model.is_lstm)
        if len(self.held) > REPLAY_CHUNKS:
            self.held.popitem(last=False)
        return self.held[begin]

    def run(self, values: npt.NDArray[np.generic]) -> Values:
        """Steps through good `values` [T, *features]; outputs [T, num_outputs]."""
        outputs, self.state = self.model.run(values, self.state)
        self.position = self.failed_end = self.position + len(values)
        self.last_output = outputs[-1]
        return outputs

    def check_version(self, version: str) -> None:
        """Raises Refusal if it runs on another one; empty: any will do."""
        if version and version != self.model.version:
            text = f"session {self.id!r} runs on version {self.model.version!r}, not {version!r}"
            raise Refusal("INVALID_INPUT", text)

    def mark(self, name: str) -> None:
        """Keeps its state and position."""
        if name not in self.marks and len(self.marks) >= MAX_MARKS:
            text = f"max_marks is {MAX_MARKS}, and the session has {len(self.marks)}; drop some"
            raise Refusal("LIMIT_REACHED", text, limit="max_marks", value=MAX_MARKS)
        self.marks[name] = self.position, self.state

    def rewind(self, name: str) -> None:
        """Returns to a mark."""
        self.check_mark(name)
        self.position, self.state = self.marks[name]
        self.failed_end = self.position
        self.held.clear()
        self.last_output = None

    def check_mark(self, name: str) -> None:
        """Raises Refusal if there is none."""
        if name not in self.marks:
            known = ", ".join(map(repr, self.marks)) or "none"
            text = f"session {self.id!r} has no mark {name!r}; there are: {known}"
            raise Refusal("UNKNOWN_MARK", text, session_id=self.id, mark=name)

    def _again(self, begin: int, asked: tuple[int, int, bool]) -> HeldAnswer:
        held = self.held.get(begin)
        if held is None or held.asked != asked:
            raise Refusal("ANSWER_GONE", position=self.position, given=begin)
        return held

    def _ahead(self, begin: int, length: int) -> Refusal:
        if begin != self.failed_end:
            return Refusal("POSITION_AHEAD", position=self.position, given=begin)
        self.failed_end += length
        return Refusal("PREDECESSOR_FAILED", position=self.position)


class FakeSessions:
    """All sessions; the caller holds the server's lock."""

    def __init__(self) -> None:
        self._by_id: dict[tuple[str, str], FakeSession] = {}
        self._by_handle: dict[int, FakeSession | Refusal] = {}
        self._tombstones: dict[tuple[str, str], tuple[int, Refusal]] = {}  # the last handle; what its holder is told
        self._handles = itertools.count(1)
        self._ids = itertools.count(1)
        self._numbers = itertools.count(1)

    def new_id(self) -> str:
        """An id of the server's making."""
        return f"fake-{next(self._ids)}"

    def open(self, model: FakeModel, session_id: str, may_exist: bool, may_begin: bool) -> FakeSession:
        """Begins or resumes a session and attaches it."""
        key = (model.name, session_id)
        if key in self._by_id:
            if not may_exist:
                raise Refusal("SESSION_EXISTS", position=self._by_id[key].position)
        elif key in self._tombstones and may_exist:
            raise self._tombstones[key][1]
        elif not may_begin:
            raise _unknown(model.name, session_id)
        elif sum(session.model is model for session in self._by_id.values()) >= model.max_sessions:
            raise Refusal("LIMIT_REACHED", retry_after_seconds=0.01, limit="max_sessions", value=model.max_sessions)
        else:
            self._begin(
                key, FakeSession(session_id, model, np.zeros(model.state_size, np.float32), next(self._numbers))
            )
        return self.attach(model.name, session_id)

    def check_kept(self, model: FakeModel, ids: Sequence[str], request_id: str) -> bool:
        """Whether these sessions were made by that very request. Raises Refusal where they cannot begin."""
        if ids and self.made_by(model.name, request_id, ids):
            return True
        for session_id in ids:
            if self.has(model.name, session_id):
                raise Refusal("SESSION_EXISTS", position=self._by_id[model.name, session_id].position)
        if sum(session.model is model for session in self._by_id.values()) + len(ids) > model.max_sessions:
            raise Refusal("LIMIT_REACHED", retry_after_seconds=0.01, limit="max_sessions", value=model.max_sessions)
        return False

    def has(self, model: str, session_id: str) -> bool:
        """Whether there is such a session."""
        return (model, session_id) in self._by_id

    def made_by(self, model: str, request_id: str, asked: Sequence[str] | int) -> list[FakeSession]:
        """The sessions that a request of that name made; none of one without. `asked`: the ids that it is for now, or
        how many that the server makes. Raises Refusal where it was for others."""
        made = [one for one in self.of_model(model) if request_id and one.request_id == request_id]
        ids = [one.id for one in made]
        is_same = len(ids) == asked if isinstance(asked, int) else sorted(ids) == sorted(asked)
        if made and not is_same:
            text = f"request_id: that request made session {ids[0]!r}, and this one is for others"
            raise Refusal("INVALID_INPUT", text)
        return made

    def attach(self, model: str, session_id: str) -> FakeSession:
        """A new handle; the one before becomes stale."""
        session = self.get(model, session_id)
        session.use_time = datetime.now(UTC)
        self._by_handle.pop(session.handle, None)
        session.handle = next(self._handles)
        self._by_handle[session.handle] = session
        return session

    def get(self, model: str, session_id: str) -> FakeSession:
        """A session by id."""
        key = (model, session_id)
        if key in self._tombstones:
            raise self._tombstones[key][1]
        if key not in self._by_id:
            raise _unknown(model, session_id)
        return self._by_id[key]

    def of_handle(self, handle: int) -> FakeSession:
        """A session by handle; the last one of a session that expired is told so until the id begins anew."""
        found = self._by_handle.get(handle) or Refusal(
            "STALE_HANDLE", "the handle is stale: the session was attached elsewhere since, or ended"
        )
        if isinstance(found, Refusal):
            raise found
        return found

    def end(self, model: str, session_id: str) -> FakeSession:
        """Closes a session."""
        session = self.get(model, session_id)
        del self._by_id[model, session_id]
        self._by_handle.pop(session.handle, None)
        session.has_ended = True
        return session

    def expire(self, model: str, session_id: str) -> None:
        """Ends a session as if it had idled for too long; it is remembered."""
        self._bury(self.end(model, session_id), "expired", "was expired")

    def disconnect(self, handles: set[int]) -> None:
        """A stream has ended that has sent steps under these handles: sessions that end with it end."""
        for handle in handles:
            session = self._by_handle.get(handle)
            if isinstance(session, FakeSession) and session.ends_with_stream:
                self._bury(
                    self.end(session.model.name, session.id), "disconnected", "ended with the stream that drove it,"
                )

    def drain(self, model: FakeModel) -> None:
        """Ends the sessions of a model that is unloaded; they are remembered."""
        for session in self.of_model(model.name):
            if session.model is model:
                self._bury(self.end(model.name, session.id), "drained", "ended, as its model was unloaded,")

    def _bury(self, session: FakeSession, cause: str, what: str) -> None:
        model, session_id = session.model.name, session.id
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        told = Refusal(
            "SESSION_EXPIRED",
            f"session {session_id!r} {what} at {now}, at position {session.position}; "
            "open it as NEW and send its sequence again from the start",
            position=session.position,
            end_time=now,
            cause=cause,
        )
        self._tombstones[model, session_id] = session.handle, told
        self._by_handle[session.handle] = told

    def detach_all(self) -> None:
        """Makes all handles stale, as another server process does."""
        self._by_handle.clear()

    def of_model(self, model: str) -> list[FakeSession]:
        """By id."""
        return sorted((one for (name, _), one in self._by_id.items() if name == model), key=lambda one: one.id)

    def after(self, model: str, number: int) -> list[FakeSession]:
        """Those that began after a number, in order."""
        return sorted((one for one in self.of_model(model) if one.number > number), key=lambda one: one.number)

    def _begin(self, key: tuple[str, str], session: FakeSession) -> None:
        if key in self._tombstones:
            self._by_handle.pop(self._tombstones.pop(key)[0], None)
        self._by_id[key] = session


def _unknown(model: str, session_id: str) -> Refusal:
    return Refusal(
        "UNKNOWN_SESSION", f"model {model!r} has no session {session_id!r}", model=model, session_id=session_id
    )
