"""What a pool of sessions is for coroutines and threads alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from elman._cast import ArrayLike
from elman._context import Context
from elman._errors import ClosedError, InvalidInputError
from elman._info import ModelInfo
from elman._opener import Opened
from elman._packed import Index
from elman._pool_step import PendingPoolStep, begin_pool_step, check_pool_input
from elman._step import FutureT, StepOptions


class PoolCore:
    """Rows of the client's table, and the server's sessions behind them."""

    def __init__(self, context: Context, info: ModelInfo, opened: Opened) -> None:
        self.context = context
        self.info = info
        self._opened = opened
        self._is_closed = False

    @property
    def ids(self) -> tuple[str, ...]:
        """Durable names, by row."""
        return tuple(self._opened.ids)

    @property
    def positions(self) -> tuple[int, ...]:
        """Time steps consumed, those under way included, by row."""
        return tuple(self.context.driver.table.begins[self._opened.rows].tolist())

    def prepare(
        self, x: ArrayLike, rows: ArrayLike | None, options: StepOptions, make_future: Callable[[], FutureT]
    ) -> PendingPoolStep[FutureT]:
        """A step to submit; in any thread. Raises InvalidInputError, ClosedError."""
        if self._is_closed:
            raise ClosedError("the pool of sessions is closed")
        sessions = self._opened.rows if rows is None else self._opened.rows[self._checked(rows)]
        values = check_pool_input(x, self.info, len(sessions))
        return begin_pool_step(values, self.info, sessions, options, self.context.max_data_bytes, make_future)

    async def close(self) -> None:
        """Waits for steps under way and ends the sessions, or lets go of them."""
        if not self._is_closed:
            self._is_closed = True
            await self.context.driver.settled(self._opened.rows, self.context.transport.deadline())
            await self.context.opener.end(self.info.name, self._opened)

    def _checked(self, rows: ArrayLike) -> Index:
        picked = np.asarray(rows)
        size = len(self._opened.ids)
        if picked.ndim != 1 or not picked.size or picked.dtype.kind not in "iu":
            raise InvalidInputError(f"rows: expected a list of at least one row number, got {rows!r}")
        if picked.min() < 0 or picked.max() >= size:
            raise InvalidInputError(f"rows: expected numbers in [0, {size}), got {picked.min()} to {picked.max()}")
        if len(np.unique(picked)) != len(picked):
            raise InvalidInputError("rows: expected distinct rows: a session takes one chunk per step")
        return picked.astype(np.intp)
