"""The engine's side of a model's sessions, as far as the door may see it. On the engine's thread."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from elman_server.exchange.initial import NOTHING_GIVEN, Initial
from elman_server.exchange.model_view import ModelView, TensorField
from elman_server.exchange.served import ModelVersions
from elman_server.exchange.session_calls.calls import Closed, OpenMode, OpenResult, Owner, SessionView
from elman_server.exchange.session_calls.exported import Exported
from elman_server.exchange.session_calls.hand_off import HandOff, HandOffRequest
from elman_server.threads.tell import Tell


class SessionOpening(Protocol):
    """One call that begins, resumes or attaches sessions, slice by slice."""

    def open(self, ids: Sequence[str], /) -> OpenResult:
        """The next slice.

        Raises:
            ServiceError: as `SessionDirectory.open`, in the first slice. What fails later is told for each id: those
                before have their answers.
        """
        ...


class MarkCalls(Protocol):
    """Each call takes its place behind the session's queued chunks.

    Raises:
        SessionExpired, UnknownSession: it does not exist.
        NoSessions: it holds a state that was kept; but for `drop`.
    """

    def mark(self, owner: Owner, name: str, tell: Tell[int], /) -> None:
        """Keeps a session's state and position under a name; the position is told."""
        ...

    def rewind(self, owner: Owner, name: str, tell: Tell[int], /) -> None:
        """Returns a session to a mark, whose position is told. Chunks that came behind this call fail."""
        ...

    def drop(self, owner: Owner, names: Sequence[str], tell: Tell[int], /) -> None:
        """Forgets marks of a session, by default all; how many it was is told."""
        ...


class MoveCalls(Protocol):
    """Between the versions of one model."""

    def move(self, owner: Owner, version: str, tell: Tell[OpenResult], /) -> None:
        """Moves a session after its queued chunks.

        Raises:
            SessionExpired, UnknownSession: it does not exist.
            UnknownModel: there is no such version.
        """
        ...


class HandOffCalls(Protocol):
    """Sessions of one model that begin from states of another."""

    def from_sessions(
        self,
        request: HandOffRequest,
        source: ModelVersions,
        owners: Sequence[Owner],
        hand_off: HandOff,
        tell: Tell[OpenResult],
        /,
    ) -> None:
        """Opens sessions from a session's state after its queued chunks, or each from that of another, after those of
        all; they may be another model's, `source`.

        Raises:
            SessionExpired, UnknownSession: one does not exist.
        """
        ...

    def from_states(
        self,
        request: HandOffRequest,
        fields: Sequence[TensorField],
        states: Sequence[NDArray[Any]],
        hand_off: HandOff,
        /,
    ) -> OpenResult:
        """Opens sessions from states [layers or 1, 1 or K, *features] of another model, which are `fields`."""
        ...


class SessionCalls(Protocol):
    """What owners do to the sessions of one model, besides stepping them.

    Raises:
        SessionExpired, UnknownSession: where one is asked for that does not exist.
    """

    @property
    def directory(self) -> ModelVersions:
        """The model."""
        ...

    @property
    def marks(self) -> MarkCalls:
        """Marking sessions, and returning to marks."""
        ...

    @property
    def hand_off(self) -> HandOffCalls:
        """Opening sessions from the state of another one, or from one that is given."""
        ...

    @property
    def moves(self) -> MoveCalls:
        """Moving sessions to another version."""
        ...

    def opening(
        self,
        principal: str,
        mode: OpenMode,
        version: str,
        initial: Initial = NOTHING_GIVEN,
        ends_with_stream: bool | None = None,
        /,
    ) -> SessionOpening:
        """A call that begins or resumes sessions; the arguments as those of `SessionDirectory.open`."""
        ...

    def close(self, principal: str, ids: Sequence[str], done: Callable[[Closed], None], /) -> None:
        """Ends sessions, each after its queued chunks; `done` is called when all have ended."""
        ...

    def describe(self, owner: Owner, with_state: bool, done: Callable[[SessionView], None], /) -> None:
        """One session, after its queued chunks if the state is asked for."""
        ...

    def set_state(self, owner: Owner, read: Callable[[ModelView], Initial], tell: Tell[int], /) -> None:
        """Puts what `read` gives in place of a session's state after its queued chunks; its position is told.

        Raises:
            NoSessions: it holds a state that was kept.
            InvalidInput: what `read` gives is not the model's, or it raises that.
        """
        ...

    def fork(self, owner: Owner, ids: Sequence[str] | int, tell: Tell[OpenResult], request_id: str = "", /) -> None:
        """Begins sessions where another one is after its queued chunks, under these ids, or so many that are made; a
        request that was answered before is answered with the sessions that it made, whatever became of the other one.

        Raises:
            InvalidInput: that request was one for others; or it is told so.
        """
        ...

    def export(self, owner: Owner, tell: Tell[Exported], /) -> None:
        """What a session is after its queued chunks, to go on elsewhere."""
        ...

    def import_session(self, principal: str, ids: Sequence[str], exported: Exported, request_id: str, /) -> OpenResult:
        """Begins a session where an exported one was, under the one id that is given, or one that is made; a request
        that was answered before is answered with the session that it made.

        Raises:
            InvalidInput: that request was one for another id.
            OtherState: no loaded version is its model.
            ServiceError: as `SessionDirectory.open`.
        """
        ...

    def page(self, principal: str, count: int, token: str, /) -> tuple[list[SessionView], str]:
        """At most `count` sessions and the next page's token, empty on the last; fewer where many others' lie between.

        Raises:
            InvalidInput: not a token of ours.
        """
        ...
