"""What can be refused or fail, in the domain's words. The gRPC codes are in `status.py` alone.

ServiceError
├── UnknownModel        no such model or version
├── UnknownSession      no such session of this principal
├── UnknownMark         no such mark of the session
├── SessionExists       NEW on an id that exists
├── SessionExpired      it ended by idleness or eviction
├── InvalidInput        a shape, dtype, size, length, id or value is wrong
├── PositionAhead       steps are missing before the chunk
├── AnswerGone          the chunk is behind, and its answer is no longer held
├── PredecessorFailed   an earlier chunk of the session failed
├── StaleHandle         attached elsewhere since, or ended
├── Superseded          the same chunk was asked for again elsewhere
├── ReAttach            meant for another server process
├── CannotGenerate      a model that cannot be fed what it gives
├── NoSessions          a bidirectional model keeps none
├── OtherState          a state that is not this model's
├── BrokenBundle        a bundle that cannot be loaded
├── ModelChanged        a load of a version that is loaded from other files
├── LimitReached        a queue, session or byte limit
├── DeadlinePassed      its time was over before it ran
├── Cancelled           its caller went away before it ran
├── Loading             the server has begun, and its models are not loaded yet
├── Draining            the server is stopping, or the model is being unloaded
└── EngineFailed        the computation failed; nothing was applied
"""

from collections.abc import Mapping

MESSAGE_BYTES = 2000
"""Of an error's message, at most: it travels in trailers, twice, and gRPC ends a call whose trailers pass 8 KiB."""
RETRY_SECONDS = 0.05
"""What a caller refused for a full queue is told to wait: some dozens of batches."""


class ServiceError(Exception):
    """A refusal or failure, told to the caller as it is."""

    reason = "UNKNOWN"
    """Stable and machine-readable: `google.rpc.ErrorInfo.reason`."""

    def __init__(
        self, message: str, *, metadata: Mapping[str, object] | None = None, retry_seconds: float | None = None
    ) -> None:
        """`metadata` becomes `ErrorInfo.metadata`; `retry_seconds`, where a retry helps, `RetryInfo`."""
        super().__init__(message)
        self.message = _as_told(message)
        self.metadata = {key: str(value) for key, value in (metadata or {}).items()}
        self.retry_seconds = retry_seconds


def _as_told(message: str) -> str:
    encoded = message.encode()
    if len(encoded) <= MESSAGE_BYTES:
        return message
    return f"{encoded[:MESSAGE_BYTES].decode(errors='ignore')} ... ({len(encoded) - MESSAGE_BYTES} bytes more)"


class UnknownModel(ServiceError):
    """No such model or version."""

    reason = "UNKNOWN_MODEL"


class UnknownSession(ServiceError):
    """No such session of this principal."""

    reason = "UNKNOWN_SESSION"


class UnknownMark(ServiceError):
    """The session has no mark of that name."""

    reason = "UNKNOWN_MARK"


class SessionExists(ServiceError):
    """NEW on an id that exists."""

    reason = "SESSION_EXISTS"


class SessionExpired(ServiceError):
    """It ended by idleness or eviction."""

    reason = "SESSION_EXPIRED"


class InvalidInput(ServiceError):
    """A shape, dtype, size, length, id or value is wrong; the message says what was expected and what came."""

    reason = "INVALID_INPUT"


class PositionAhead(ServiceError):
    """Steps are missing before the chunk."""

    reason = "POSITION_AHEAD"


class AnswerGone(ServiceError):
    """The chunk is behind the session's position, and its answer is not held (any more)."""

    reason = "ANSWER_GONE"


class PredecessorFailed(ServiceError):
    """An earlier chunk of the session failed, so this one was not applied."""

    reason = "PREDECESSOR_FAILED"


class StaleHandle(ServiceError):
    """The session was attached elsewhere since, or ended, or the handle is of another server process."""

    reason = "STALE_HANDLE"


class Superseded(ServiceError):
    """The same chunk was asked for again; its answer goes to the newest asker."""

    reason = "SUPERSEDED"


class ReAttach(ServiceError):
    """The request is meant for another server process."""

    reason = "RE_ATTACH"


class NoSessions(ServiceError):
    """A bidirectional model keeps no sessions: its backward direction needs the end of the sequence."""

    reason = "NO_SESSIONS"


class CannotGenerate(ServiceError):
    """The model cannot be fed what it gives, or what is meant is open."""

    reason = "CANNOT_GENERATE"


class OtherState(ServiceError):
    """A state of another model, or of other names or shapes than the model's."""

    reason = "OTHER_STATE"


class BrokenBundle(ServiceError):
    """A bundle that cannot be loaded."""

    reason = "BROKEN_BUNDLE"


class ModelChanged(ServiceError):
    """A load of a version that is loaded already, from files that were other ones then."""

    reason = "MODEL_CHANGED"


class LimitReached(ServiceError):
    """A queue, session or byte limit."""

    reason = "LIMIT_REACHED"

    @classmethod
    def first(cls, *rooms: tuple[str, int, int, int]) -> "LimitReached | None":
        """For the first room in which what comes does not fit, if there is one. A room: name of the limit, the limit,
        what waits, what comes. A retry helps where that would fit alone."""
        for name, limit, before, more in rooms:
            if before + more > limit:
                text = f"{name} is {limit}: {before} wait and {more} came"
                retry_seconds = RETRY_SECONDS if more <= limit else None
                return cls(text, metadata={"limit": name, "value": limit}, retry_seconds=retry_seconds)
        return None


class DeadlinePassed(ServiceError):
    """Its time was over before it ran; it was not applied."""

    reason = "DEADLINE_PASSED"


class Cancelled(ServiceError):
    """Its caller went away before it ran; it was not applied."""

    reason = "CANCELLED"


class Loading(ServiceError):
    """The server has begun and loads its models; nothing was applied."""

    reason = "LOADING"


class Draining(ServiceError):
    """The server is stopping, or the model is being unloaded."""

    reason = "DRAINING"


class EngineFailed(ServiceError):
    """The computation failed; the chunk was not applied."""

    reason = "ENGINE_FAILED"
