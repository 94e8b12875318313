"""What an engine must agree with: sessions as plain lists of inputs, run whole by torch.nn."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from toys import Array, Toy, assert_near

from elman_server.errors import ServiceError
from elman_server.exchange.answers import Answer
from elman_server.exchange.frames import Frame, Want
from elman_server.exchange.want import asked_back

RowKey = tuple[int, int]
"""Frame id and row."""
Ran = tuple[Array, Array, Array | None]
"""What torch.nn gives: the outputs of some steps, h_n and c_n."""


def kind_of(frame: Frame) -> int:
    """What a frame asks back, as one number."""
    return frame.outputs << 3 | frame.want << 1 | frame.want_state


class Listener:
    """An asker that notes what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Frame, Answer]] = []
        self.gone = False

    def on_bug(self, frame: Frame, error: Exception) -> None:
        raise error

    def on_result(self, frame: Frame, answer: Answer) -> None:
        frame.open_rows -= answer.num_ended
        self.told.append((frame, answer))


@dataclass
class Received:
    """What came back for one row."""

    steps: list[Array] = field(default_factory=list)
    lengths: int = 0
    position: int | None = None
    error: ServiceError | None = None
    h_n: Array | None = None
    c_n: Array | None = None

    @property
    def is_over(self) -> bool:
        return self.position is not None or self.error is not None

    @property
    def tensors(self) -> list[Array]:
        """All that came, whichever of it was asked for."""
        return [*self.steps, *(state for state in (self.h_n, self.c_n) if state is not None)]

    def check(self, ran: Ran, kind: int) -> None:
        """Equals what torch.nn gives for the chunk."""
        want, want_state = asked_back(kind)
        output, h_n, c_n = ran
        if want is Want.NONE:
            assert not self.steps
        else:
            assert_near(np.stack(self.steps), output if want is Want.ALL else output[-1:])
        assert (self.h_n is not None) == want_state
        if want_state:
            assert_near(self.h_n, h_n)
        if want_state and c_n is not None:
            assert_near(self.c_n, c_n)


@dataclass(eq=False)
class Chunk:
    """A chunk that was admitted."""

    begin: int
    data: Array
    kind: int
    deadline: float
    owner: RowKey
    sink: Listener
    begun: bool = False
    answer: Received | None = None
    """The first whole answer that anyone got."""

    @property
    def end(self) -> int:
        return self.begin + len(self.data)


@dataclass(eq=False)
class ExpectedSession:
    """One session."""

    id: str
    handle: int
    used: float
    position: int = 0
    applied: list[Array] = field(default_factory=list)
    queue: list[Chunk] = field(default_factory=list)
    done: list[Chunk] = field(default_factory=list)  # oldest first
    stale: list[int] = field(default_factory=list)
    broken: bool = False
    closing: bool = False
    undone: list[Chunk] = field(default_factory=list)  # that a rewind has left behind
    origins: list[tuple[int, Any]] = field(default_factory=lambda: [(0, None)])
    """Where it was given a state, and that as torch.nn takes it, in order; None: zeros."""
    marks: dict[str, tuple[list[Array], list[tuple[int, Any]]]] = field(default_factory=dict)
    """What was applied before each, and the origins, by name."""

    @property
    def admitted(self) -> int:
        return self.queue[-1].end if self.queue else self.position

    def mark(self, name: str) -> None:
        """Keeps where it is."""
        self.marks[name] = list(self.applied), list(self.origins)

    def rewind(self, name: str) -> None:
        """Is where it was; answers that were held are forgotten."""
        applied, origins = self.marks[name]
        self.applied, self.origins = list(applied), list(origins)
        self.position = sum(map(len, self.applied))
        self.undone = self.done[-4:]
        self.done = []

    def set_state(self, hx: Any) -> None:
        """Goes on from a state, as torch.nn takes it; None: zeros. Answers that are held stay."""
        self.origins.append((self.position, hx))

    def run(self, toy: Toy, begin: int, end: int) -> Ran:
        """The steps from `begin` to `end`, by torch.nn from the state that it was given last before them."""
        origin, hx = self._origin(begin)
        output, h_n, c_n = toy.run(np.concatenate(self.applied)[origin:end], hx)
        return output[begin - origin :], h_n, c_n

    def states(self, toy: Toy, position: int) -> list[Array]:
        """h_n, and c_n if there is one, at a position."""
        origin, hx = self._origin(position)
        if origin < position:
            states = self.run(toy, origin, position)[1:]
        else:
            states = hx if isinstance(hx, tuple) else (hx, None)
        return [np.asarray(state) for state in states if state is not None]

    def _origin(self, position: int) -> tuple[int, Any]:
        return [one for one in self.origins if one[0] <= position][-1]

    @property
    def gave(self) -> Chunk | None:
        """The chunk that ended where it is, if its answer is held and it was not given a state since."""
        is_new = self.origins[-1][0] == self.position
        return None if is_new or not self.done else self.done[-1]


def split(frame: Frame, answer: Answer, received: dict[RowKey, Received]) -> list[RowKey]:
    """Spreads an answer over its rows; the rows that end or begin with it, in order."""
    rows = range(frame.num_rows) if answer.rows is None else answer.rows.tolist()
    if answer.rows is None and not len(answer.lengths):
        rows = []
    keys = [(frame.frame_id, row) for row in rows]
    lengths = answer.lengths.tolist()
    assert lengths == sorted(lengths, reverse=True)
    starts = [0] * len(lengths) if answer.starts is None else answer.starts.tolist()
    for key, start, length in zip(keys, starts, lengths, strict=True):
        assert received[key].lengths == start
        received[key].lengths += length
    if frame.want is Want.ALL and lengths:
        assert answer.output is not None
        elements = iter(answer.output)
        for t in range(lengths[0]):
            for key, length in zip(keys, lengths, strict=True):
                if t < length:
                    received[key].steps.append(next(elements))
        assert next(elements, None) is None
    _end(frame, answer, received)
    return [*keys, *((frame.frame_id, row) for row, _ in answer.errors)]


def _end(frame: Frame, answer: Answer, received: dict[RowKey, Received]) -> None:
    for i, (row, position) in enumerate(zip(answer.finished.tolist(), answer.positions.tolist(), strict=True)):
        one = received[frame.frame_id, row]
        assert not one.is_over, "a row ended twice"
        one.position = position
        if frame.want is Want.LAST:
            assert answer.output is not None
            one.steps.append(answer.output[i])
        if frame.want_state:
            one.h_n = answer.states[0][:, i]
            one.c_n = answer.states[1][:, i] if len(answer.states) > 1 else None
    for row, error in answer.errors:
        one = received[frame.frame_id, row]
        assert not one.is_over, "a row ended twice"
        one.error = error


def passed(deadline: float, now: float) -> bool:
    """Whether a time is over."""
    return deadline <= now and not math.isinf(deadline)


def assert_same(repeated: Received, first: Received) -> None:
    """A repeat brings what came the first time, bit by bit."""
    for again, before in zip(repeated.tensors, first.tensors, strict=True):
        assert np.array_equal(again, before)
