"""Sessions that a client has open: what one and a pool of many have in common."""

from __future__ import annotations

from elman._context import Context
from elman._opener import Opened
from elman._shared.errors import ClosedError
from elman._shared.info import ModelInfo
from elman._shared.packed_layout import Index


class OpenSessions:
    """Rows of the client's table, and the server's sessions behind them."""

    def __init__(self, context: Context, info: ModelInfo, opened: Opened) -> None:
        self.context = context
        self.info = info
        self.opened = opened
        self.is_closed = False
        self._last_positions: tuple[int, ...] | None = None

    @property
    def rows(self) -> Index:
        """Their numbers in the table, while they are open."""
        return self.opened.rows

    @property
    def positions(self) -> tuple[int, ...]:
        """Time steps consumed, those under way included; where they were left, once they are closed."""
        if self._last_positions is not None:  # the rows may be other sessions' by now
            return self._last_positions
        return tuple(self.context.driver.table.begins[self.rows].tolist())

    async def close(self) -> None:
        """Waits for steps under way and ends the sessions, or lets go of them if the caller named them."""
        if not self.is_closed:
            await self._leave()
            await self.context.opener.close(self.info.name, self.opened)

    async def end(self) -> None:
        """Waits for steps under way and ends the sessions. Raises ClosedError."""
        if self.is_closed:
            raise ClosedError(f"{self} cannot be ended by it any more; model.end_sessions ends sessions by id")
        await self._leave()
        await self.context.opener.end(self.info.name, self.opened)

    def check_open(self) -> None:
        """Raises ClosedError."""
        if self.is_closed:
            raise ClosedError(str(self))

    def __str__(self) -> str:
        ids = self.opened.ids
        what = f"session {ids[0]!r}" if len(ids) == 1 else f"the pool of {len(ids)} sessions"
        return f"{what} is {'closed' if self.is_closed else 'open'}"

    async def _leave(self) -> None:
        self.is_closed = True
        await self.context.driver.settled(self.rows, self.context.transport.deadline())
        self._last_positions = self.positions
