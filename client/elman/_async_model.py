"""A model on the server, for coroutines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

from elman._async_pool import AsyncSessionPool
from elman._async_session import AsyncSession
from elman._cast import ArrayLike
from elman._inference import InferOutput
from elman._info import ModelInfo
from elman._model_core import ModelCore
from elman._opening import Opening
from elman._result import Returning, State
from elman.wire import Array


class AsyncModel:
    """A model that the server has loaded. Made by `AsyncClient.model`."""

    def __init__(self, core: ModelCore) -> None:
        self._core = core

    @property
    def info(self) -> ModelInfo:
        """What it takes and gives, as described when it was asked for."""
        return self._core.info

    def session(self, id: str | None = None, *, new: bool = False) -> Opening[AsyncSession]:
        """Opens a session: `async with model.session() as session`, or `await` it and close it by hand.

        Without `id` a new one, which ends when it is closed. With `id` that one is resumed, or begun if it never
        was; with `new` it is begun at position 0, even after it expired. Closing only lets go of it.

        Tried again after a cut, `new` takes a session at position 0 for the one that its lost try began. Where it
        gives up (UnavailableError, DeadlineError) the session may have begun: go on without `new`.

        Raises SessionExpiredError (an id that ended: it never silently begins at 0), SessionExistsError (`new`, and
        the id lives: it is left alone), LimitReachedError, UnsupportedError (a bidirectional model), DeadlineError,
        UnavailableError, AuthenticationError.
        """

        async def opened() -> AsyncSession:
            return AsyncSession(await self._core.session(id, new))

        return Opening(opened)

    def sessions(
        self, n: int | None = None, *, ids: Sequence[str] | None = None, new: bool = False
    ) -> Opening[AsyncSessionPool]:
        """Opens `n` new sessions, or those called `ids`, to be stepped together. Otherwise as `session`.

        Raises RowErrors where some ids cannot be opened; then none is.
        """

        async def opened() -> AsyncSessionPool:
            return AsyncSessionPool(await self._core.sessions(n, ids, new))

        return Opening(opened)

    @overload
    async def infer(
        self,
        x: Sequence[Array],
        *,
        h_0: ArrayLike | None = None,
        c_0: ArrayLike | None = None,
        returning: Literal["all", "last"] = "all",
        timeout: float | None = None,
    ) -> tuple[list[Array], State]: ...
    @overload
    async def infer(
        self,
        x: ArrayLike,
        *,
        h_0: ArrayLike | None = None,
        c_0: ArrayLike | None = None,
        returning: Literal["all", "last"] = "all",
        timeout: float | None = None,
    ) -> tuple[Array, State]: ...
    @overload
    async def infer(
        self,
        x: ArrayLike,
        *,
        h_0: ArrayLike | None = None,
        c_0: ArrayLike | None = None,
        returning: Literal["none"],
        timeout: float | None = None,
    ) -> tuple[None, State]: ...
    async def infer(
        self,
        x: ArrayLike,
        *,
        h_0: ArrayLike | None = None,
        c_0: ArrayLike | None = None,
        returning: Returning = "all",
        timeout: float | None = None,
    ) -> tuple[InferOutput, State]:
        """Runs whole sequences without a session; the only way for bidirectional models.

        `x` is one sequence [T, input_size] (ids [T] for a token model), or a list of K of any lengths. `h_0` is
        [num_layers x directions, K, proj_size or hidden_size] and `c_0`, LSTM only, [num_layers x directions, K,
        hidden_size]; None: zeros. Returns the output [T, output_size] ([output_size] with "last", None with "none"),
        or a list of K of them for a list, and the states after the last steps.

        Raises InvalidInputError, LimitReachedError, DeadlineError, UnavailableError, ServerError.
        """
        return await self._core.infer(x, h_0, c_0, self._core.context.options(returning, True, timeout))
