"""What a machine does to an engine, and sees of it: by hand, or over a socket."""

from collections.abc import Sequence
from typing import Any, Protocol

from expected_sessions import Listener, Received
from generating import Generated
from later import Later
from numpy.typing import NDArray
from stepped_engine import FakeClock
from toys import Array

from elman_models import State
from elman_server.exchange.frames import Frame, ResultSink, Want
from elman_server.exchange.session_calls.calls import Closed, OpenMode, OpenResult, SessionView


class AnyEngine(Protocol):
    """An engine of one toy model that does nothing but when it is told to, on a clock that stands."""

    clock: FakeClock

    def open(self, *ids: str, mode: OpenMode) -> OpenResult:
        """Opens or resumes sessions."""
        ...

    def close(self, *ids: str) -> Later[Closed]:
        """Ends sessions, each after its queued chunks."""
        ...

    def describe(self, session_id: str) -> Later[SessionView]:
        """A session with its state, after its queued chunks."""
        ...

    def mark(self, session_id: str, name: str) -> int:
        """Marks a session that has nothing queued; its position."""
        ...

    def rewind(self, session_id: str, name: str) -> int:
        """Returns such a session to a mark; its position."""
        ...

    def set_state(self, session_id: str, state: State | None) -> int:
        """Puts a state in place of that of such a session, of one row; None: what the model begins with. Its
        position."""
        ...

    def generate(self, request: Any, cut: int | None) -> Generated:
        """Has such a session generate, to its end; `cut`: the caller goes away after so many steps, and asks for the
        rest."""
        ...

    def fork(self, session_id: str, other: str) -> OpenResult:
        """Begins another session where such a session is."""
        ...

    def carry(self, session_id: str, other: str) -> OpenResult:
        """Begins another session from what such a session is exported as."""
        ...

    def hand_over(self, session_id: str, other: str) -> OpenResult:
        """Begins another session from the state of such a session, at position 0."""
        ...

    def keep(self, ids: Sequence[str], rows: Sequence[Array], initial: State | None) -> list[Received]:
        """Runs whole sequences, longest first, to their ends, and keeps each one's state as a session."""
        ...

    def positions(self) -> dict[str, tuple[int, int]]:
        """The sessions that there are: steps applied, and steps admitted."""
        ...

    def any_good(self, handles: Sequence[int]) -> bool:
        """Whether one of the handles is good."""
        ...

    def listener(self) -> Listener:
        """A new caller."""
        ...

    def go_away(self, listener: Listener) -> None:
        """A caller that listens no more."""
        ...

    def frame(
        self,
        handles: Sequence[int],
        data: NDArray[Any],
        lengths: Sequence[int],
        sink: ResultSink,
        *,
        positions: Sequence[int] | None,
        want: Want,
        want_state: bool,
        timeout: float,
    ) -> Frame:
        """A frame that arrives now; `data` packed."""
        ...

    def submit(self, frame: Frame) -> Frame:
        """Hands it over; it is taken in at the next turn."""
        ...

    def infer(self, rows: Sequence[Array], initial: State | None, timeout: float) -> Later[list[Received]]:
        """Whole sequences without sessions, longest first, and what becomes of each."""
        ...

    def take_in(self) -> None:
        """Takes in what was handed over."""
        ...

    def pump(self) -> None:
        """One turn of the engine: takes in, runs a batch."""
        ...

    def fail(self) -> None:
        """A turn whose computation fails."""
        ...

    def expire(self) -> None:
        """What the engine does now and then."""
        ...

    def assert_nothing_left(self) -> None:
        """Every table is as it was at the start, but for open sessions."""
        ...

    def shut(self) -> None:
        """Nothing is asked any more."""
        ...
