"""Moving a session to another version of its model, with its state."""

from collections.abc import Callable
from typing import Protocol

from elman_server.errors import OtherState, ServiceError
from elman_server.exchange.model_view import ModelView, TensorField
from elman_server.exchange.session_calls.calls import OpenResult, Owner
from elman_server.models.directory import SessionDirectory, check_steps, check_takes_sessions
from elman_server.models.runtime import Runtime
from elman_server.sessions.tombstones import moved


class Drop(Protocol):
    """Ends a chunk and the later ones of its session with an error: `Commit.drop`."""

    def __call__(self, number: int, error: ServiceError, back_to: int | None = None) -> None:
        """`back_to`: the session's position."""
        ...


def check_same_states(source: Runtime, target: Runtime) -> None:
    """Raises OtherState unless the names, shapes and kinds of both versions' states and contexts agree."""
    told = [_in_words(one.view) for one in (source, target)]
    if told[0] != told[1]:
        raise OtherState(
            f"version {target.spec.version!r} of model {target.spec.name!r} keeps {told[1]}, and the session on "
            f"version {source.spec.version!r} has {told[0]}: its state cannot go on there",
            metadata={"model": target.spec.name},
        )


def move(
    directory: SessionDirectory, owner: Owner, target: Runtime, drop_of: Callable[[Runtime], Drop], now: float
) -> OpenResult:
    """Moves a session whose turn it is, marks and position with it, and attaches it; so one that is there already.

    Chunks that are queued for it fail with StaleHandle: whoever sent them attaches again and sends them again. Answers
    that are held for repeats go with it, where both versions have the same outputs. `now` in seconds on the
    engine's clock.

    Raises:
        SessionExpired, UnknownSession: it does not exist, or ends.
        Draining, NoSessions: the version takes none; or the session holds a state that was kept.
        OtherState: as `check_same_states`.
    """
    check_takes_sessions(target)
    runtime, slot = directory.find(owner)
    check_steps(runtime)
    if runtime is not target:
        check_same_states(runtime, target)
        queued = runtime.scheduler.queues.of(slot)
        if queued and directory.has_room(target, now):  # else it stays, and they run
            error = moved(target.spec.version)
            drop_of(runtime)(queued[0], error, back_to=int(runtime.sessions.position[slot]))
    return directory.take_over(directory.find(owner), owner, target, now)


def _in_words(view: ModelView) -> str:
    return ", ".join(
        f"{kind} {one.name!r} {_kind(one)} {list(one.seam_shape(1))}"
        for kind, fields in (("state", view.states), ("context", view.context))
        for one in fields
    )


def _kind(one: TensorField) -> str:
    return f"ids below {one.num_embeddings}" if one.num_embeddings else str(one.dtype)
