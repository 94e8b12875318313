"""What a session is for coroutines and threads alike."""

from __future__ import annotations

from collections.abc import Callable

from elman._cast import ArrayLike
from elman._context import Context
from elman._errors import ClosedError
from elman._info import ModelInfo
from elman._opener import Opened
from elman._result import State
from elman._step import FutureT, PendingStep, StepOptions, begin_step


class SessionCore:
    """A row of the client's table, and the server's session behind it."""

    def __init__(self, context: Context, info: ModelInfo, opened: Opened) -> None:
        self.context = context
        self.info = info
        self._opened = opened
        self._row = int(opened.rows[0])
        self._is_closed = False

    @property
    def id(self) -> str:
        """Its durable name."""
        return self._opened.ids[0]

    @property
    def position(self) -> int:
        """Time steps consumed, those under way included."""
        return self.context.driver.table.begins.item(self._row)

    def window(self, max_in_flight: int | None) -> int:
        """Chunks in flight at a time."""
        window = self.context.driver.table.windows.item(self._row)
        return max(1, min(max_in_flight or window, window))

    def prepare(self, x: ArrayLike, options: StepOptions, make_future: Callable[[], FutureT]) -> PendingStep[FutureT]:
        """A step to submit; in any thread. Raises InvalidInputError, ClosedError."""
        self._check_open()
        return begin_step(x, self.info, self._row, options, self.context.max_data_bytes, make_future)

    async def state(self) -> State:
        """The state after all steps submitted before."""
        self._check_open()
        deadline = self.context.transport.deadline()
        await self.context.driver.settled(self._opened.rows, deadline)
        return await self.context.opener.state(self.info.name, self.id, deadline)

    async def close(self) -> None:
        """Waits for steps under way and ends the session, or lets go of it."""
        if not self._is_closed:
            self._is_closed = True
            await self.context.driver.settled(self._opened.rows, self.context.transport.deadline())
            await self.context.opener.end(self.info.name, self._opened)

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClosedError(f"session {self.id!r} is closed")
