"""Calls whose answers come when the engine has come so far: closes, looks at a state, sequences without a session."""

from dataclasses import dataclass

import numpy as np
from later import Later
from plain_engine import PlainEngine
from plain_sessions import Plain, Received
from toys import Array, Toy, assert_near

from elman_models import State
from elman_server import errors as e
from elman_server.engine.session_calls import Closed, SessionView


@dataclass(eq=False)
class Inferring:
    """An `Infer` that is under way."""

    rows: list[Array]
    initial: State | None
    is_late: bool
    answer: Later[list[Received]]
    may_fail: bool = False
    """Whether the computation failed since."""


class PendingCalls:
    """Those that are under way; each is compared with the plain model once it is answered."""

    def __init__(self, toy: Toy, plain: PlainEngine) -> None:
        self._toy = toy
        self._plain = plain
        self.infers: list[Inferring] = []
        self.closes: list[tuple[Plain, Later[Closed]]] = []
        self.views: list[tuple[Plain, Later[SessionView]]] = []

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
            for row, received in enumerate(infer.answer.now()):
                self._compare_inferred(infer, row, received)
        for session, closed in list(self.closes):
            self._compare_closed(session, closed)
        for session, view in list(self.views):
            if view.is_told or not session.queue:
                self._compare_view(session, view.now())
                self.views.remove((session, view))

    def _compare_inferred(self, infer: Inferring, row: int, received: Received) -> None:
        if received.error:
            assert infer.is_late or infer.may_fail
            assert isinstance(received.error, e.DeadlinePassed if infer.is_late else e.EngineFailed)
            return
        assert not infer.is_late
        output, h_n, c_n = self._toy.run(infer.rows[row], _row_of(infer.initial, row))
        assert_near(np.stack(received.steps), output)
        assert_near(received.h_n, h_n)
        if c_n is not None:
            assert_near(received.c_n, c_n)

    def _compare_closed(self, session: Plain, closed: Later[Closed]) -> None:
        if session.queue:
            assert not closed.is_told, "closed before its chunks ran"
            return
        assert closed.now().positions == [session.position]
        self.closes.remove((session, closed))
        self._plain.closed(session)

    def _compare_view(self, session: Plain, view: SessionView) -> None:
        assert view.position <= session.position
        assert view.state is not None
        if view.position:
            _, h_n, c_n = self._toy.run(session.sequence(view.position))
            assert_near(view.state.h[:, 0].numpy(), h_n)
            if c_n is not None:
                assert view.state.c is not None
                assert_near(view.state.c[:, 0].numpy(), c_n)


def _row_of(state: State | None, row: int) -> object:
    # hx of torch.nn for one sequence alone.
    if state is None:
        return None
    return state.h[:, row] if state.c is None else (state.h[:, row], state.c[:, row])
