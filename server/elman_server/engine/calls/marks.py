"""Marking sessions, and returning to marks; on the engine's thread."""

from collections.abc import Callable, Sequence

from elman_server.engine.worker import Worker
from elman_server.errors import PredecessorFailed
from elman_server.exchange.session_calls.calls import Owner
from elman_server.models.directory import SessionDirectory, check_steps
from elman_server.models.runtime import Runtime
from elman_server.threads.tell import Tell


class MarkCalls:
    """Each call takes its place behind the session's queued chunks."""

    def __init__(self, directory: SessionDirectory, worker_of: Callable[[Runtime], Worker]) -> None:
        self._directory = directory
        self._worker_of = worker_of

    def mark(self, owner: Owner, name: str, tell: Tell[int]) -> None:
        """See the exchange's `MarkCalls`."""
        runtime, slot = self._directory.find(owner)
        check_steps(runtime)
        runtime.after_queued(slot, lambda: tell(lambda: self._mark(owner, name)))

    def rewind(self, owner: Owner, name: str, tell: Tell[int]) -> None:
        """See the exchange's `MarkCalls`."""
        place = self._directory.find(owner)
        check_steps(place.runtime)
        place.runtime.after_queued(place.slot, lambda: tell(lambda: self._rewind(owner, name)))

    def _mark(self, owner: Owner, name: str) -> int:
        runtime, slot = self._directory.there(owner)
        return runtime.mark(slot, name)

    def _rewind(self, owner: Owner, name: str) -> int:
        runtime, slot = self._directory.there(owner)
        mark = runtime.marks.get(owner, slot, name)
        runtime.rewind(slot, mark)
        queued = runtime.scheduler.queues.of(slot)
        if queued:
            error = PredecessorFailed(
                f"the session was rewound to position {mark.position} before this chunk's turn came, so it was not "
                "applied; send again from there",
                metadata={"position": mark.position},
            )
            self._worker_of(runtime).commit.drop(queued[0], error, back_to=mark.position)
        return mark.position

    def drop(self, owner: Owner, names: Sequence[str], tell: Tell[int]) -> None:
        """See the exchange's `MarkCalls`."""
        place = self._directory.find(owner)

        def drop() -> int:
            runtime, slot = self._directory.there(owner)
            for name in names:
                runtime.marks.get(owner, slot, name)
            dropped = list(dict.fromkeys(names)) or list(runtime.marks.positions(slot))
            runtime.marks.drop(slot, dropped)
            return len(dropped)

        place.runtime.after_queued(place.slot, lambda: tell(drop))
