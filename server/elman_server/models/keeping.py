"""The final states of whole sequences, kept as sessions once all of them have run; on the engine's thread."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_server.exchange.initial import Initial
from elman_server.exchange.session_calls.calls import OpenMode, Owner
from elman_server.exchange.session_calls.keep import Keep
from elman_server.models.directory import SessionDirectory
from elman_server.models.runtime import Runtime
from elman_server.threads.clock import Clock

Array = NDArray[Any]


class StateKeeping:
    """See `Keeping`."""

    def __init__(self, directory: SessionDirectory, runtime: Runtime, clock: Clock, keep: Keep) -> None:
        self._directory = directory
        self._runtime = runtime
        self._clock = clock
        self._keep = keep
        self.is_abandoned = False

    def check(self) -> None:
        """See `Keeping`."""
        if not self._was_done():
            self._directory.check_new(self._runtime, self._keep.principal, self._keep.ids)

    def keep(self, states: Sequence[Array], positions: NDArray[np.int64], context: Mapping[str, Array]) -> None:
        """See `Keeping`."""
        keep, now = self._keep, self._clock.now()
        if self.is_abandoned or self._was_done():
            return
        opened = self._directory.open(
            keep.principal,
            keep.ids,
            OpenMode.NEW,
            "",
            now,
            Initial(tuple(states), context),
            runtime=self._runtime,
            position=positions,
            is_kept=True,
        )
        if opened.errors:
            begun = [one for index, one in enumerate(keep.ids) if index not in opened.errors]
            places = [self._directory.find(Owner(keep.principal, one)) for one in begun]
            self._directory.end(self._runtime, np.array([place.slot for place in places], np.int64), "closed", now)
            raise next(iter(opened.errors.values()))
        self._directory.requests.note(keep.principal, keep.request_id, keep.ids)

    def _was_done(self) -> bool:
        # By a try whose answer was lost.
        keep = self._keep
        return bool(self._directory.requests.made_by(keep.principal, keep.request_id, keep.ids))
