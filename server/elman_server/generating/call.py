"""A call that has a session generate, of its own if it names none; on the engine's thread."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from elman_server.engine.calls.sessions import SessionCalls
from elman_server.exchange.initial import Initial
from elman_server.exchange.session_calls.calls import OpenMode, Owner
from elman_server.exchange.session_calls.ids import make_id
from elman_server.generating.generators import Asked, Generators, Listener
from elman_server.generating.target import check_version
from elman_server.models.directory import SessionDirectory, check_steps
from elman_server.threads.clock import Clock


class GenerateCall:
    """Begins what was asked for, and ends what it has begun for it."""

    def __init__(self, generators: Generators, directory: SessionDirectory, clock: Clock, listener: Listener) -> None:
        self._generators = generators
        self._directory = directory
        self._clock = clock
        self._listener = listener
        self._own: Owner | None = None

    def begin(self, asked: Asked, version: str, context: Mapping[str, NDArray[Any]]) -> str:
        """Asks for it; the session's id. Without one a session is opened on that version, with that context.

        Raises:
            ServiceError: as `SessionDirectory.open`, or as what is asked is read; or the session runs on another
                version than the one that is named.
        """
        if asked.session_id:
            runtime, _ = self._directory.find(asked.owner)
            check_steps(runtime)
            check_version(runtime, asked.session_id, version)
        else:
            asked.read(self._directory.version(version).view)  # before there is a session
            self._own = self._open(asked.principal, version, context)
            asked = asked._replace(session_id=self._own.session_id)
        self._generators.ask(self._directory, asked, self._listener)
        return asked.session_id

    def end(self) -> None:
        """Nobody listens any more."""
        self._generators.leave(self._listener)
        if self._own:
            session_calls = SessionCalls(self._directory, self._clock, self._generators.worker_of)
            session_calls.close(self._own.principal, [self._own.session_id], lambda _: None)

    def _open(self, principal: str, version: str, context: Mapping[str, NDArray[Any]]) -> Owner:
        owner, initial = Owner(principal, make_id()), Initial(context=context)
        ids, now = [owner.session_id], self._clock.now()
        opened = self._directory.open(principal, ids, OpenMode.NEW, version, now, initial)
        if opened.errors:
            raise opened.errors[0]
        return owner
