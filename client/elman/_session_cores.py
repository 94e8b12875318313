"""What sessions and pools of sessions are for coroutines and threads alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from elman._calls.session_opener import OpenedSessions
from elman._client_core import ClientCore
from elman._shared.arrays import ArrayLike, to_states
from elman._shared.checks import check_count
from elman._shared.deadline import Deadline
from elman._shared.errors import ClosedError, InvalidInputError
from elman._shared.info import ModelInfo, model_label
from elman._shared.packed_layout import Index
from elman._shared.results import State
from elman._shared.session_ids import check_id
from elman._stepping.answers import FutureT
from elman._stepping.options import StepOptions, StepTerms
from elman._stepping.pool_step import PendingPoolStep, begin_pool_step, check_pool_input
from elman._stepping.session_step import PendingStep, begin_step


class _SessionsCore:
    """Rows of the client's table, and the server's sessions behind them."""

    def __init__(self, client: ClientCore, info: ModelInfo, opened: OpenedSessions) -> None:
        self.client = client
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
        return tuple(self.client.driver.table.begins[self.rows].tolist())

    async def close(self) -> None:
        """Waits for steps under way and ends the sessions, or lets go of them if the caller named them."""
        if not self.is_closed:
            await self._leave()
            await self.client.opener.close(self.info.name, self.opened)

    async def end(self) -> None:
        """Waits for steps under way and ends the sessions. Raises ClosedError."""
        if self.is_closed:
            raise ClosedError(f"{self} cannot be ended by it any more; model.end_sessions ends sessions by id")
        await self._leave()
        await self.client.opener.end(self.info.name, self.opened)

    def check_open(self) -> None:
        """Raises ClosedError."""
        if self.is_closed:
            raise ClosedError(str(self))

    def __str__(self) -> str:
        ids = self.opened.ids
        what = f"session {ids[0]!r}" if len(ids) == 1 else f"the pool of {len(ids)} sessions"
        return f"{what} is {'closed' if self.is_closed else 'open'}"

    def _where(self) -> str:
        return f"on model {model_label(self.info)} at {self.client.transport.target.address}"

    def _state(self) -> str:
        return "closed" if self.is_closed or self.client.transport.is_closed else "open"

    async def end_left_generation(self) -> None:
        """Ends what feeds them in their caller's place, if it is left."""

    async def _leave(self) -> None:
        self.is_closed = True
        await self.end_left_generation()
        await self.client.driver.settled(self.rows, self.client.transport.deadline())
        self._last_positions = self.positions


class Generating(Protocol):
    """What feeds a session in its caller's place."""

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits for it."""
        ...

    async def close(self) -> None:
        """Ends it."""
        ...


class SessionCore(_SessionsCore):
    """One session."""

    def __init__(self, client: ClientCore, info: ModelInfo, opened: OpenedSessions) -> None:
        super().__init__(client, info, opened)
        self._generating: Generating | None = None
        self._row = self.rows.item()
        # Of the last step, in one tuple: threads may step a session at the same time.
        self._last_terms: tuple[StepOptions, StepTerms] | None = None

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

    def repr_of(self, kind: str) -> str:
        """Such as <elman.Session 'user-42' on model 'char-lm' version '1' at localhost:8470, position 17, open>."""
        return f"<elman.{kind} {self.id!r} {self._where()}, position {self.position}, {self._state()}>"

    async def itself(self) -> SessionCore:
        """As whatever opens one would give it."""
        self.check_open()
        return self

    async def begin_generation(self, generation: Generating, deadline: Deadline) -> None:
        """It is fed by the server from now on, after all steps submitted before. Raises ElmanError."""
        self.check_open()
        await self._settled(deadline)
        self._generating = generation

    def end_generation(self, generation: Generating) -> None:
        """It is fed by its caller again."""
        if self._generating is generation:
            self._generating = None

    async def end_left_generation(self) -> None:
        """Ends one that nobody reads to its end. Raises InvalidInputError where somebody does."""
        generation = self._generating
        if generation is not None:
            self._check_rests()
            await generation.close()

    async def _settled(self, deadline: Deadline) -> None:
        # Nothing that was asked for before is without its end.
        await self.end_left_generation()
        await self.client.driver.settled(self.rows, deadline)

    def _check_rests(self) -> None:
        if self._generating is not None and self._generating.is_busy:
            raise InvalidInputError(f"{self} generates: read that to its end, or close it")

    def window(self, max_in_flight: int | None) -> int:
        """Chunks in flight at a time. Raises TypeError, InvalidInputError."""
        if max_in_flight is not None:
            max_in_flight = check_count("max_in_flight", max_in_flight)
        window: int = self.client.driver.table.windows[self.rows].item()
        return max(1, min(max_in_flight or window, window))

    def prepare(self, x: ArrayLike, options: StepOptions, make_future: Callable[[], FutureT]) -> PendingStep[FutureT]:
        """A step to submit; in any thread. Raises InvalidInputError, ClosedError."""
        self.check_open()
        if self._generating is not None:
            raise InvalidInputError(f"{self} generates: read that to its end, or close it")
        last = self._last_terms
        if last is None or last[0] is not options:
            last = self._last_terms = options, StepTerms.of(options, self.info, self.client.max_data_bytes)
        return begin_step(x, self.info, self._row, last[1], make_future)

    async def state(self) -> State:
        """The state after all steps submitted before. Raises ElmanError."""
        self.check_open()
        deadline = self.client.transport.deadline()
        await self._settled(deadline)
        return await self.client.session_calls.state(self.info, self.id, deadline)

    async def set_state(self, state: object) -> None:
        """Puts another state in place of its own, after all steps submitted before; None: what the model begins with.

        Raises TypeError, ElmanError.
        """
        self.check_open()
        states = None if state is None else to_states(state, self.info, 1, "state")
        deadline = self.client.transport.deadline()
        await self._settled(deadline)
        await self.client.session_calls.set_state(self.info, self.id, states, deadline)

    async def settled_id(self) -> str:
        """Its id, once nothing is under way. Raises ElmanError."""
        self.check_open()
        await self._settled(self.client.transport.deadline())
        return self.id

    async def mark(self, name: object) -> None:
        """Keeps its state and position under a name, after all steps submitted before. Raises TypeError, ElmanError."""
        mark, deadline = await self._settled_for(name)
        await self.client.session_calls.mark(self.info, self.id, mark, deadline)

    async def rewind(self, name: object) -> None:
        """Returns to a mark, after all steps submitted before. Raises TypeError, ElmanError."""
        mark, deadline = await self._settled_for(name)
        position = await self.client.session_calls.rewind(self.info, self.id, mark, deadline)
        self.client.driver.table.rewind(self.rows, position)

    async def marks(self) -> dict[str, int]:
        """Positions of its marks by name. Raises ElmanError."""
        self.check_open()
        deadline = self.client.transport.deadline()
        await self._settled(deadline)
        return await self.client.session_calls.marks(self.info, self.id, deadline)

    async def drop_mark(self, name: object) -> None:
        """Forgets a mark. Raises TypeError, ElmanError."""
        mark, deadline = await self._settled_for(name)
        await self.client.session_calls.drop_mark(self.info, self.id, mark, deadline)

    async def _settled_for(self, name: object) -> tuple[str, Deadline]:
        # A mark's name, once nothing is under way.
        self.check_open()
        mark, deadline = check_id("mark", name), self.client.transport.deadline()
        await self._settled(deadline)
        return mark, deadline

    async def export(self) -> bytes:
        """It as bytes, after all steps submitted before. Raises ElmanError."""
        self.check_open()
        deadline = self.client.transport.deadline()
        await self._settled(deadline)
        return await self.client.session_calls.export(self.info, self.id, deadline)

    async def fork(self, count: int) -> OpenedSessions:
        """Sessions that begin where it is after all steps submitted before. Raises TypeError, ElmanError."""
        self.check_open()
        count = check_count("n", count)
        deadline = self.client.transport.deadline()
        await self._settled(deadline)
        return await self.client.opener.fork(self.info, self.id, count, deadline)


class PoolCore(_SessionsCore):
    """Sessions that are stepped together."""

    async def settled_ids(self) -> tuple[str, ...]:
        """Their ids, once nothing is under way. Raises ElmanError."""
        self.check_open()
        await self.client.driver.settled(self.rows, self.client.transport.deadline())
        return self.ids

    @property
    def ids(self) -> tuple[str, ...]:
        """Durable names, by row."""
        return tuple(self.opened.ids)

    @property
    def resumed(self) -> tuple[bool, ...]:
        """Whether each existed before it was opened, by row."""
        return tuple(self.opened.resumed)

    def repr_of(self, kind: str) -> str:
        """Such as <elman.SessionPool of 256 on model 'a' version '1' at localhost:8470, positions 0 to 17, open>."""
        least, most = min(self.positions), max(self.positions)
        positions = f"position {least}" if least == most else f"positions {least} to {most}"
        return f"<elman.{kind} of {len(self.ids)} {self._where()}, {positions}, {self._state()}>"

    def prepare(
        self, x: ArrayLike, rows: ArrayLike | None, options: StepOptions, make_future: Callable[[], FutureT]
    ) -> PendingPoolStep[FutureT]:
        """A step to submit; in any thread. Raises InvalidInputError, ClosedError."""
        self.check_open()
        sessions = self.rows if rows is None else self.rows[self._checked(rows)]
        values = check_pool_input(x, self.info, len(sessions))
        return begin_pool_step(
            values, self.info, sessions, options.of(self.info), self.client.max_data_bytes, make_future
        )

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
