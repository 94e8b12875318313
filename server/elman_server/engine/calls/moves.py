"""Moving sessions to another version of their model; on the engine's thread."""

from collections.abc import Callable

from elman_server.engine.worker import Worker
from elman_server.exchange.session_calls.calls import OpenResult, Owner
from elman_server.models.directory import SessionDirectory
from elman_server.models.moving import move
from elman_server.models.runtime import Runtime
from elman_server.threads.clock import Clock
from elman_server.threads.tell import Tell


class MoveCalls:
    """Between the versions of one model."""

    def __init__(self, directory: SessionDirectory, clock: Clock, worker_of: Callable[[Runtime], Worker]) -> None:
        self._directory = directory
        self._clock = clock
        self._worker_of = worker_of

    def move(self, owner: Owner, version: str, tell: Tell[OpenResult]) -> None:
        """See the exchange's `MoveCalls`."""
        runtime, slot = self._directory.find(owner)
        self._directory.version(version)
        runtime.after_queued(slot, lambda: tell(lambda: self._move(owner, version)))

    def _move(self, owner: Owner, version: str) -> OpenResult:
        target = self._directory.version(version)
        drop_of = lambda runtime: self._worker_of(runtime).commit.drop  # noqa: E731
        return move(self._directory, owner, target, drop_of, self._clock.now())
