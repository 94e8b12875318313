"""Calls whose answers come when the engine has come so far: closes, looks at a state, sequences without a session."""

from dataclasses import dataclass, field

import numpy as np
from expected_engine import ExpectedEngine
from expected_sessions import ExpectedSession, Received
from later import Later
from toys import Array, Toy, assert_near

from elman_models import State
from elman_server import errors as e
from elman_server.exchange.session_calls.calls import Closed, SessionView


@dataclass(eq=False)
class Inferring:
    """An `Infer` that is under way."""

    rows: list[Array]
    initial: State | None
    is_late: bool
    answer: Later[list[Received]]
    may_fail: bool = False
    """Whether the computation failed since."""


@dataclass(eq=False)
class Closing:
    """A `CloseSessions` that is under way."""

    sessions: list[ExpectedSession | None]
    """In the order of the ids; None: there is none of that id."""
    answer: Later[Closed]
    positions: dict[int, int] = field(default_factory=dict)
    """Of those that have ended, by index."""


class PendingCalls:
    """Those that are under way; each is compared with the plain model once it is answered."""

    def __init__(self, toy: Toy, expected: ExpectedEngine) -> None:
        self._toy = toy
        self._expected = expected
        self.infers: list[Inferring] = []
        self.closes: list[Closing] = []
        self.views: list[tuple[ExpectedSession, Later[SessionView]]] = []

    @property
    def num_infer_rows(self) -> int:
        """Sequences that wait or run."""
        return sum(len(infer.rows) for infer in self.infers)

    @property
    def is_empty(self) -> bool:
        """Whether all are answered."""
        return not (self.infers or self.closes or self.views)

    def fail(self) -> None:
        """The computation is about to fail."""
        for infer in self.infers:
            infer.may_fail = True

    def compare(self) -> None:
        """What was answered since."""
        for infer in [infer for infer in self.infers if infer.answer.is_told]:
            self.infers.remove(infer)
            self.compare_inferred(infer)
        for closing in list(self.closes):
            self._compare_closed(closing)
        for session, view in list(self.views):
            if view.is_told or not session.queue:
                self._compare_view(session, view.now())
                self.views.remove((session, view))

    def compare_inferred(self, infer: Inferring) -> None:
        """One that was answered."""
        for row, received in enumerate(infer.answer.now()):
            self._compare_inferred(infer, row, received)

    def _compare_inferred(self, infer: Inferring, row: int, received: Received) -> None:
        if received.error:
            assert infer.is_late or infer.may_fail
            assert isinstance(received.error, e.DeadlinePassed if infer.is_late else e.EngineFailed)
            return
        assert not infer.is_late
        output, h_n, c_n = self._toy.run(infer.rows[row], row_of(infer.initial, row))
        assert_near(np.stack(received.steps), output)
        assert_near(received.h_n, h_n)
        if c_n is not None:
            assert_near(received.c_n, c_n)

    def _compare_closed(self, closing: Closing) -> None:
        for index, session in enumerate(closing.sessions):
            if session and index not in closing.positions and not session.queue:
                closing.positions[index] = session.position
                self._expected.closed(session)
        unknown = [index for index, session in enumerate(closing.sessions) if not session]
        if len(closing.positions) + len(unknown) < len(closing.sessions):
            assert not closing.answer.is_told, "closed before all chunks ran"
            return
        closed = closing.answer.now()
        assert closed.positions == [closing.positions.get(index, 0) for index in range(len(closing.sessions))]
        assert sorted(closed.errors) == unknown
        assert all(isinstance(error, e.UnknownSession | e.SessionExpired) for error in closed.errors.values())
        self.closes.remove(closing)

    def _compare_view(self, session: ExpectedSession, view: SessionView) -> None:
        assert view.position <= session.position
        assert view.states is not None
        expected = session.states(self._toy, view.position) or [np.zeros_like(one[:, 0]) for one in view.states]
        for state, one in zip(view.states, expected, strict=True):
            assert_near(state[:, 0], one)


def row_of(state: State | None, row: int) -> object:
    """hx of torch.nn for one sequence alone."""
    if state is None:
        return None
    return state.h[:, row] if state.c is None else (state.h[:, row], state.c[:, row])
