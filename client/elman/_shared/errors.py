"""What can go wrong, as one small tree.

ElmanError
├── InvalidInputError        a shape, dtype, length or value the model does not take (also a ValueError)
├── NotFoundError
│   ├── UnknownModelError    no such model or version on the server
│   ├── UnknownSessionError  no such session
│   ├── UnknownMarkError     no such mark of the session
│   └── SessionExpiredError  it ended, idle for too long or evicted: .position, .end_time
├── SessionExistsError       a new session under an id that exists: .position
├── PositionError            a chunk that does not begin where its session is: .position, .given
├── PredecessorFailedError   an earlier chunk of the session failed, so this one was not applied: .position
├── StaleHandleError         another client attached the session, or it ended
├── LimitReachedError        a queue, session or byte limit: .limit, .retry_after_seconds
├── DeadlineError            not done in time (also a TimeoutError)
├── UnavailableError         no connection, or the server is going away, and retries are spent
├── UnsupportedError         the model or the server cannot do that
├── AuthenticationError      missing or wrong credentials
├── ServerError              the server failed: a bug or a broken device there
├── ClosedError              the client or the session was closed
├── MissingExtraError        what was asked for needs an extra of this package (also an ImportError)
├── LoopError                an AsyncClient used in another event loop than its own (also a RuntimeError)
├── ForkError                a client inherited by a fork, or made where gRPC cannot work (also a RuntimeError)
└── RowErrors                rows of one pool step failed: .errors by row, .output of the good ones
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from elman._shared.results import State
from elman.wire import Array


@dataclass(frozen=True)
class ErrorDetails:
    """What the server told besides its message."""

    code: str = ""
    """The gRPC status code's name, such as "NOT_FOUND"; empty where the SDK itself raised."""
    reason: str = ""
    """`google.rpc.ErrorInfo.reason`, such as "SESSION_EXPIRED"; empty if there was none."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """`google.rpc.ErrorInfo.metadata`."""
    retry_after_seconds: float | None = None
    """`google.rpc.RetryInfo`; None: trying again does not help."""


class ElmanError(Exception):
    """Base of every error that this package raises by intent."""

    def __init__(self, message: str, details: ErrorDetails | None = None) -> None:
        super().__init__(message)
        self.details = details or ErrorDetails()

    def _number(self, key: str) -> int | None:
        value = self.details.metadata.get(key, "")
        return int(value) if value.isdecimal() else None


class InvalidInputError(ElmanError, ValueError):
    """A shape, dtype, length or value that the model does not take; the message says expected and given."""


class NotFoundError(ElmanError):
    """There is no such thing on the server."""


class UnknownModelError(NotFoundError):
    """No such model or version; the message names those that exist."""


class UnknownSessionError(NotFoundError):
    """No such session."""


class UnknownMarkError(NotFoundError):
    """The session has no mark of that name; the message names those that there are."""


class SessionExpiredError(NotFoundError):
    """The session ended on the server: begin it anew, `model.session(id, mode="new")`, and send its sequence again."""

    @property
    def position(self) -> int | None:
        """Time steps that it had consumed."""
        return self._number("position")

    @property
    def end_time(self) -> datetime | None:
        """When it ended."""
        text = self.details.metadata.get("end_time", "")
        return datetime.fromisoformat(text) if text else None


class SessionExistsError(ElmanError):
    """A new session was asked for under an id that exists."""

    @property
    def position(self) -> int | None:
        """Time steps that the existing one has consumed."""
        return self._number("position")


class PositionError(ElmanError):
    """A chunk did not begin where its session is: somebody else stepped it, or the server lost steps."""

    @property
    def position(self) -> int | None:
        """Where the session is, in time steps; the next chunk goes there."""
        return self._number("position")

    @property
    def given(self) -> int | None:
        """Where the chunk began."""
        return self._number("given")


class PredecessorFailedError(ElmanError):
    """An earlier chunk of the session failed; this one was not applied. Send both again."""

    @property
    def position(self) -> int | None:
        """Where the session is, in time steps; the next chunk goes there."""
        return self._number("position")


class StaleHandleError(ElmanError):
    """The session was attached by another client, or it ended. Open it again to take it back."""


class LimitReachedError(ElmanError):
    """A limit of the server: too many queued steps, sessions or bytes."""

    @property
    def limit(self) -> str:
        """Which limit."""
        return self.details.metadata.get("limit", "")

    @property
    def retry_after_seconds(self) -> float | None:
        """When to try again; None: never, make the request smaller."""
        return self.details.retry_after_seconds


class DeadlineError(ElmanError, TimeoutError):
    """Not done within `timeout`. Refused by the server it was not applied; given up on here it may still be."""


class UnavailableError(ElmanError):
    """No connection after all retries. A step may or may not have been applied: `state().position` tells."""


class UnsupportedError(ElmanError):
    """The model or the server cannot do that."""


class AuthenticationError(ElmanError):
    """Missing or wrong credentials."""


class ServerError(ElmanError):
    """The server failed; the step was not applied."""


class ClosedError(ElmanError):
    """The client or the session was closed."""


class MissingExtraError(ElmanError, ImportError):
    """What was asked for needs an extra of this package that is not installed; the message names it."""


class LoopError(ElmanError, RuntimeError):
    """An AsyncClient was used in another event loop or thread than the one that first used it."""


class ForkError(ElmanError, RuntimeError):
    """The client was inherited by a fork, or gRPC cannot work in this fork; the message says what to do."""


class RowErrors(ElmanError):
    """Some rows of a pool's step failed; the others were applied and their results are here."""

    def __init__(
        self,
        errors: Mapping[int, ElmanError],
        output: Array | list[Array] | None = None,
        state: State | None = None,
    ) -> None:
        first = next(iter(errors.items()))
        super().__init__(f"{len(errors)} rows failed, the first is row {first[0]}: {first[1]}", first[1].details)
        self.errors: dict[int, ElmanError] = dict(errors)
        """By row, as counted in the call that raised."""
        self.output = output
        """As the call returns it; failed rows hold NaN (0 where integers)."""
        self.state = state
        """As the call returns it, if asked for; failed rows hold NaN."""

    def __reduce__(self) -> tuple[type[RowErrors], tuple[object, ...]]:
        return type(self), (self.errors, self.output, self.state)
