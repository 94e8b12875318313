"""Many sessions stepped together, for coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Self, overload

from elman._progress import await_with_bar
from elman._session_cores import PoolCore
from elman._shared.arrays import ArrayLike
from elman._shared.errors import ElmanError
from elman._shared.info import ModelInfo
from elman._shared.results import StepResult
from elman._stepping.answers import Answer, await_answers, loop_future
from elman._stepping.options import Returning
from elman._stepping.pool_step import PendingPoolStep, PoolOutput
from elman.wire import Array


class AsyncSessionPool:
    """Sessions of one model whose next steps travel in one frame. Made by `AsyncModel.sessions`."""

    def __init__(self, core: PoolCore) -> None:
        self._core = core

    def __repr__(self) -> str:
        return self._core.repr_of("AsyncSessionPool")

    def __len__(self) -> int:
        return len(self._core.ids)

    @property
    def ids(self) -> tuple[str, ...]:
        """The sessions' durable names, by row."""
        return self._core.ids

    @property
    def model_info(self) -> ModelInfo:
        """The model version that they run on."""
        return self._core.info

    @property
    def resumed(self) -> tuple[bool, ...]:
        """Whether each existed when it was opened, at whatever position, by row; False: it began then, at 0."""
        return self._core.resumed

    @property
    def positions(self) -> tuple[int, ...]:
        """Time steps consumed, those under way included, by row."""
        return self._core.positions

    @overload
    async def step(
        self,
        x: Sequence[Array],
        *,
        rows: ArrayLike | None = None,
        returning: Literal["all", "last"] | None = None,
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
        progress: bool = False,
    ) -> list[Array]: ...
    @overload
    async def step(
        self,
        x: ArrayLike,
        *,
        rows: ArrayLike | None = None,
        returning: Literal["all", "last"] | None = None,
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
        progress: bool = False,
    ) -> Array: ...
    @overload
    async def step(
        self,
        x: ArrayLike,
        *,
        rows: ArrayLike | None = None,
        returning: Literal["none"],
        timeout: float | None = None,
        progress: bool = False,
    ) -> None: ...
    @overload
    async def step(
        self,
        x: ArrayLike,
        *,
        rows: ArrayLike | None = None,
        returning: Returning | None = None,
        outputs: Sequence[str] | None = None,
        state: Literal[True],
        timeout: float | None = None,
        progress: bool = False,
    ) -> StepResult[Array | list[Array] | None]: ...
    async def step(
        self,
        x: ArrayLike,
        *,
        rows: ArrayLike | None = None,
        returning: Returning | None = None,
        outputs: Sequence[str] | None = None,
        state: bool = False,
        timeout: float | None = None,
        progress: bool = False,
    ) -> PoolOutput | StepResult[PoolOutput]:
        """Runs the next time steps of all n sessions, or of those in `rows` (distinct, in any order).

        `x` is [T, n, input_size], or one step [n, input_size] (ids [T, n] or [n] for a token model), or a list of
        n arrays [T_k, input_size] of any lengths. The output is [T, n, output_size], [n, output_size] for one step
        or with `returning="last"`, or a list of n arrays for a list. With `state` a StepResult. With `progress` a bar
        shows how far it is (by tqdm, of the extra "elman[progress]").

        Of a model of several inputs `x` is a dict of them, or a list of n dicts; outputs likewise (see `Session.step`).

        Raises RowErrors where some rows failed (the others are applied, and their outputs are with it), otherwise as
        `AsyncSession.step`.
        """
        options = self._core.client.options(returning, outputs, state, timeout, progress)
        pending = self._core.prepare(x, rows, options, loop_future)
        if progress:
            await await_with_bar(pending, self._submit)
        else:
            self._submit(pending)
            await await_answers(pending.futures, options.timeout_seconds)
        return pending.result()

    async def end(self) -> None:
        """Waits for steps under way, then ends the sessions on the server, whoever named them, and frees their slots.

        Those that have ended already are as good. Raises ClosedError (it was closed: `Model.end_sessions` ends sessions
        by id), DeadlineError, UnavailableError, AuthenticationError.
        """
        await self._core.end()

    async def close(self) -> None:
        """Waits for steps under way, then ends the sessions if the server made their ids, else lets go of them.

        Those that the caller named stay on the server, to be resumed, until they have idled for too long: `end` ends
        them.
        """
        await self._core.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except ElmanError:
            if error is None:  # else what went wrong first is what the caller needs to see
                raise

    def _submit(self, pending: PendingPoolStep[asyncio.Future[Answer]]) -> None:
        self._core.client.driver.submit_all(pending.chunks)
