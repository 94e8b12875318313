"""A model on the server, for threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

from elman._cast import ArrayLike
from elman._inference import InferOutput
from elman._info import ModelInfo
from elman._loop_thread import LoopThread
from elman._model_core import ModelCore
from elman._pool import SessionPool
from elman._result import Returning, State
from elman._session import Session
from elman.wire import Array


class Model:
    """A model that the server has loaded. Made by `Client.model`."""

    def __init__(self, core: ModelCore, thread: LoopThread) -> None:
        self._core = core
        self._thread = thread

    @property
    def info(self) -> ModelInfo:
        """What it takes and gives, as described when it was asked for."""
        return self._core.info

    def session(self, id: str | None = None, *, new: bool = False) -> Session:
        """Opens a session, to be used in a `with`, or closed by hand.

        Without `id` a new one, which ends when it is closed. With `id` that one is resumed, or begun if it never
        was; with `new` it is begun at position 0, even after it expired. Closing only lets go of it.

        Tried again after a cut, `new` takes a session at position 0 for the one that its lost try began. Where it
        gives up (UnavailableError, DeadlineError) the session may have begun: go on without `new`.

        Raises SessionExpiredError (an id that ended: it never silently begins at 0), SessionExistsError (`new`, and
        the id lives: it is left alone), LimitReachedError, UnsupportedError (a bidirectional model), DeadlineError,
        UnavailableError, AuthenticationError.
        """
        return Session(self._thread.run(self._core.session(id, new)), self._thread)

    def sessions(self, n: int | None = None, *, ids: Sequence[str] | None = None, new: bool = False) -> SessionPool:
        """Opens `n` new sessions, or those called `ids`, to be stepped together. Otherwise as `session`.

        Raises RowErrors where some ids cannot be opened; then none is.
        """
        return SessionPool(self._thread.run(self._core.sessions(n, ids, new)), self._thread)

    @overload
    def infer(
        self,
        x: Sequence[Array],
        *,
        h_0: ArrayLike | None = None,
        c_0: ArrayLike | None = None,
        returning: Literal["all", "last"] = "all",
        timeout: float | None = None,
    ) -> tuple[list[Array], State]: ...
    @overload
    def infer(
        self,
        x: ArrayLike,
        *,
        h_0: ArrayLike | None = None,
        c_0: ArrayLike | None = None,
        returning: Literal["all", "last"] = "all",
        timeout: float | None = None,
    ) -> tuple[Array, State]: ...
    @overload
    def infer(
        self,
        x: ArrayLike,
        *,
        h_0: ArrayLike | None = None,
        c_0: ArrayLike | None = None,
        returning: Literal["none"],
        timeout: float | None = None,
    ) -> tuple[None, State]: ...
    def infer(
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
        options = self._core.context.options(returning, True, timeout)
        return self._thread.run(self._core.infer(x, h_0, c_0, options))
