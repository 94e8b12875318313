"""What a call runs on: a model version, or a session on one."""

from typing import NamedTuple

from elman_server.engine.engine import Engine
from elman_server.engine.worker import Worker
from elman_server.errors import InvalidInput
from elman_server.exchange.session_calls.calls import Owner
from elman_server.models.catalogue import Catalogue
from elman_server.models.runtime import Runtime


class Target(NamedTuple):
    """Where it runs."""

    worker: Worker
    handle: int | None
    """Of the session; None: there is none."""


def find_target(
    engine: Engine, catalogue: Catalogue, model: str, version: str, principal: str, session_id: str
) -> Target:
    """The model version, or where the session runs, if one is named. On the engine's thread.

    Raises:
        UnknownModel, UnknownSession, SessionExpired: there is none.
        InvalidInput: the session runs on another version.
    """
    directory = catalogue.directory(model)
    if not session_id:
        return Target(engine.worker_of(directory.version(version)), None)
    runtime, slot = directory.find(Owner(principal, session_id))
    check_version(runtime, session_id, version)
    return Target(engine.worker_of(runtime), runtime.sessions.handle(slot))


def check_version(runtime: Runtime, session_id: str, version: str) -> None:
    """Raises InvalidInput where another version than that of the session is named."""
    if version and version != runtime.spec.version:
        raise InvalidInput(f"session {session_id!r} runs on version {runtime.spec.version!r}, not {version!r}")
