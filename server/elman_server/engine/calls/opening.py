"""Opening: one call that begins, resumes or attaches sessions, slice by slice; on the engine's thread."""

from collections.abc import Sequence

from elman_server.errors import ServiceError
from elman_server.exchange.initial import NOTHING_GIVEN, Initial
from elman_server.exchange.session_calls.calls import OpenMode, OpenResult
from elman_server.models.directory import SessionDirectory
from elman_server.models.runtime import Runtime
from elman_server.threads.clock import Clock


class Opening:
    """All slices are one call's: what it began or attached is not evicted for its later ids, and its new sessions begin
    on one version, for as long as that stays."""

    def __init__(
        self,
        directory: SessionDirectory,
        principal: str,
        mode: OpenMode,
        version: str,
        clock: Clock,
        initial: Initial = NOTHING_GIVEN,
        ends_with_stream: bool | None = None,
    ) -> None:
        self._directory = directory
        self._principal = principal
        self._mode = mode
        self._version = version
        self._clock = clock
        self._initial = initial
        self._ends_with_stream = ends_with_stream
        self._num_before = 0
        self._began: float | None = None  # seconds on the engine's clock
        self._runtime: Runtime | None = None

    def open(self, ids: Sequence[str]) -> OpenResult:
        """See the exchange's `SessionOpening`."""
        is_first, now = self._began is None, self._clock.now()
        initial = self._initial.of(slice(self._num_before, self._num_before + len(ids)))
        self._num_before += len(ids)
        try:
            if self._runtime is None or self._runtime.unloading:
                self._runtime = self._directory.version(self._version)
            self._began = now if self._began is None else self._began
            return self._directory.open(
                self._principal,
                ids,
                self._mode,
                self._version,
                now,
                initial,
                since=self._began,
                runtime=self._runtime,
                ends_with_stream=self._ends_with_stream,
            )
        except ServiceError as error:
            if is_first:
                raise
            return OpenResult.empty(ids, error)
