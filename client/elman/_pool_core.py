"""What a pool of sessions is for coroutines and threads alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from elman._open_sessions import OpenSessions
from elman._shared.arrays import ArrayLike
from elman._shared.errors import InvalidInputError
from elman._shared.packed_layout import Index
from elman._stepping.options import StepOptions
from elman._stepping.pool_step import PendingPoolStep, begin_pool_step, check_pool_input
from elman._stepping.session_step import FutureT


class PoolCore(OpenSessions):
    """Sessions that are stepped together."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Durable names, by row."""
        return tuple(self.opened.ids)

    @property
    def resumed(self) -> tuple[bool, ...]:
        """Whether each existed before it was opened, by row."""
        return tuple(self.opened.resumed)

    def prepare(
        self, x: ArrayLike, rows: ArrayLike | None, options: StepOptions, make_future: Callable[[], FutureT]
    ) -> PendingPoolStep[FutureT]:
        """A step to submit; in any thread. Raises InvalidInputError, ClosedError."""
        self.check_open()
        sessions = self.rows if rows is None else self.rows[self._checked(rows)]
        values = check_pool_input(x, self.info, len(sessions))
        return begin_pool_step(values, self.info, sessions, options, self.context.max_data_bytes, make_future)

    def _checked(self, rows: ArrayLike) -> Index:
        try:
            picked = np.asarray(rows)
        except (TypeError, ValueError):  # ragged
            picked = np.empty(0)
        size = len(self.rows)
        if picked.ndim != 1 or not picked.size or picked.dtype.kind not in "iu":
            raise InvalidInputError(f"rows: expected a list of at least one row number, got {rows!r}")
        if picked.min() < 0 or picked.max() >= size:
            raise InvalidInputError(f"rows: expected numbers in [0, {size}), got {picked.min()} to {picked.max()}")
        if len(np.unique(picked)) != len(picked):
            raise InvalidInputError("rows: expected distinct rows: a session takes one chunk per step")
        return picked.astype(np.intp)
