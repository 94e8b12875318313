"""What a session is for coroutines and threads alike."""

from __future__ import annotations

from collections.abc import Callable

from elman._open_sessions import OpenSessions
from elman._shared.arrays import ArrayLike
from elman._shared.checks import check_count
from elman._shared.results import State
from elman._stepping.options import StepOptions
from elman._stepping.session_step import FutureT, PendingStep, begin_step


class SessionCore(OpenSessions):
    """One session."""

    @property
    def id(self) -> str:
        """Its durable name."""
        return self.opened.ids[0]

    @property
    def resumed(self) -> bool:
        """Whether it existed before it was opened."""
        return self.opened.resumed[0]

    @property
    def position(self) -> int:
        """Time steps consumed, those under way included."""
        return self.positions[0]

    def window(self, max_in_flight: int | None) -> int:
        """Chunks in flight at a time. Raises TypeError, InvalidInputError."""
        if max_in_flight is not None:
            max_in_flight = check_count("max_in_flight", max_in_flight)
        window: int = self.context.driver.table.windows[self.rows].item()
        return max(1, min(max_in_flight or window, window))

    def prepare(self, x: ArrayLike, options: StepOptions, make_future: Callable[[], FutureT]) -> PendingStep[FutureT]:
        """A step to submit; in any thread. Raises InvalidInputError, ClosedError."""
        self.check_open()
        row = self.rows.item()
        return begin_step(x, self.info, row, options, self.context.max_data_bytes, make_future)

    async def state(self) -> State:
        """The state after all steps submitted before. Raises ElmanError."""
        self.check_open()
        deadline = self.context.transport.deadline()
        await self.context.driver.settled(self.rows, deadline)
        return await self.context.opener.state(self.info.name, self.id, deadline)
