"""A session, for coroutines."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self, Unpack, overload

from elman._async_pool import AsyncSessionPool
from elman._generating.generation import GenerationCore
from elman._generating.iterators import AsyncGeneration
from elman._generating.request import GenerateOptions
from elman._open_session import OpenSession
from elman._progress import await_with_bar
from elman._scoring import Score, score_session
from elman._session_cores import PoolCore, SessionCore
from elman._shared.arrays import ArrayLike
from elman._shared.errors import ElmanError
from elman._shared.results import State, StepResult
from elman._stepping.answers import await_answers, loop_future
from elman._stepping.options import Returning, StepOptions
from elman._stepping.pipeline import LoopStep, check_chunks, pipeline
from elman.wire import Array


class AsyncSession(OpenSession):
    """A running sequence on one model, whose state stays on the server. Made by `AsyncModel.session`.

    Coroutines may step it at the same time; their chunks are applied in the order of the calls. Cancelling a call
    does not undo its step.
    """

    def __init__(self, core: SessionCore) -> None:
        super().__init__(core)

    @overload
    async def step(
        self,
        x: ArrayLike,
        *,
        returning: Literal["all", "last"] | None = None,
        every: int | None = None,
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
        progress: bool = False,
    ) -> Array: ...
    @overload
    async def step(
        self, x: ArrayLike, *, returning: Literal["none"], timeout: float | None = None, progress: bool = False
    ) -> None: ...
    @overload
    async def step(
        self,
        x: ArrayLike,
        *,
        returning: Literal["all", "last"] | None = None,
        every: int | None = None,
        outputs: Sequence[str] | None = None,
        state: Literal[True],
        timeout: float | None = None,
        progress: bool = False,
    ) -> StepResult[Array]: ...
    @overload
    async def step(
        self,
        x: ArrayLike,
        *,
        returning: Literal["none"],
        state: Literal[True],
        timeout: float | None = None,
        progress: bool = False,
    ) -> StepResult[None]: ...
    async def step(
        self,
        x: ArrayLike,
        *,
        returning: Returning | None = None,
        every: int | None = None,
        outputs: Sequence[str] | None = None,
        state: bool = False,
        timeout: float | None = None,
        progress: bool = False,
    ) -> Array | StepResult[Array] | StepResult[None] | None:
        """Runs the next time steps.

        `x` is [T, input_size], T >= 1, or one step [input_size]; for a token model ids [T], or one id. The output
        is [T, output_size], or [output_size] for one step or with `returning="last"`, or None with "none"; by default
        what the model's author meant: every step's, unless all outputs are `last_only`. With `every` that of each
        `every`-th of these steps alone, [T // every, output_size]: others do not travel. With `state` a StepResult of
        the output and the state after the last step. `timeout` is in seconds. With `progress` a bar shows how far it is
        (by tqdm, of the extra "elman[progress]").

        Of a model of several inputs `x` is a dict of them, by name, of equally many steps. Of one of several outputs,
        and where `outputs` names some, what comes back is a dict of those; what is not named is not computed.

        Raises InvalidInputError, SessionExpiredError, UnknownSessionError, StaleHandleError, PositionError,
        PredecessorFailedError, LimitReachedError, DeadlineError, UnavailableError, AuthenticationError,
        ServerError, ClosedError, MissingExtraError; TypeError for options of the wrong type.
        """
        options = self._core.client.options(returning, outputs, state, timeout, progress, every)
        await self._core.end_left_generation()
        pending = self._core.prepare(x, options, loop_future)
        if progress:
            await await_with_bar(pending, self._submit)
        else:
            self._submit(pending)
            await await_answers(pending.futures, options.timeout_seconds)
        return pending.result()  # type: ignore[no-any-return]  # `returning` decides, as the overloads say

    def stream(
        self,
        chunks: Iterable[ArrayLike] | AsyncIterable[ArrayLike],
        *,
        returning: Literal["all", "last"] | None = None,
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
        max_in_flight: int | None = None,
    ) -> AsyncIterator[Array]:
        """Steps through `chunks`, each as `step` takes it, and yields their outputs in order as they come.

        Up to `max_in_flight` chunks (None: as many as the server holds answers for) are under way at a time, and
        that many are taken from `chunks` ahead of the outputs. Raises as `step`.
        """
        options = self._core.client.stream_options(returning, outputs, timeout)
        check_chunks(chunks, may_be_async=True)
        return pipeline(chunks, lambda x: self._begin(x, options), self._core.window(max_in_flight))

    async def state(self) -> State:
        """The state after all steps begun before: h_n and c_n [num_layers, 1, size], and the position.

        Raises SessionExpiredError, UnknownSessionError, UnavailableError, ClosedError.
        """
        return await self._core.state()

    async def set_state(self, state: Mapping[str, ArrayLike]) -> None:
        """Puts `state`, a State or a dict by name of one row, in place of its own, after all steps begun before.

        The position goes on counting. Steps that are begun before this returns may run before or after it.

        Raises TypeError, InvalidInputError, SessionExpiredError, UnknownSessionError, DeadlineError, UnavailableError,
        ClosedError.
        """
        if state is None:
            raise TypeError("state: expected a State or a dict, got None; reset() puts back what the model begins with")
        await self._core.set_state(state)

    async def reset(self) -> None:
        """Puts its state back to what the model begins with, after all steps begun before; as `set_state`."""
        await self._core.set_state(None)

    def generate(self, max_steps: int, **options: Unpack[GenerateOptions]) -> AsyncGeneration:
        """Feeds the session what it gave, on the server, up to `max_steps`; iterate over the steps as they come.

        The prompt, if there is one, is stepped first, [n, *features] as `step` takes it; without one it goes on from
        the output that the session gave last. Then each step is made of what the step before it gave: of a token model
        a token drawn from the logits, of others the output itself, where it has the input's shape; `feedback` says
        otherwise. Items are ids of tokens, else arrays [*features], or dicts of what is fed back. Each step is applied
        once, also over cuts, and the session is past all that is told. Leaving the loop ends it within a step.

        `options` are those of `GenerateOptions`: prompt, temperature, top_k, top_p, seed, repetition_penalty,
        logit_bias, stop, beams, length_penalty, given, feedback, timeout.

        Raises TypeError and InvalidInputError, and as it is read also UnsupportedError (the model cannot be fed what it
        gives), SessionExpiredError, UnknownSessionError, StaleHandleError (somebody else attached the session),
        PositionError, LimitReachedError, DeadlineError, UnavailableError, ServerError, ClosedError.
        """
        self._core.check_open()
        client, info = self._core.client, self._core.info
        core = GenerationCore(info, client.transport, self._core.itself, options, max_steps)
        return AsyncGeneration(core)

    @overload
    async def score(
        self, x: ArrayLike, targets: ArrayLike, *, output: str | None = None, timeout: float | None = None
    ) -> float: ...
    @overload
    async def score(
        self,
        x: ArrayLike,
        targets: ArrayLike,
        *,
        output: str | None = None,
        steps: Literal[True],
        timeout: float | None = None,
    ) -> Score: ...
    async def score(
        self,
        x: ArrayLike,
        targets: ArrayLike,
        *,
        output: str | None = None,
        steps: bool = False,
        timeout: float | None = None,
    ) -> float | Score:
        """Steps through `x` as `step` does, and says how well `targets` fit what the model gives, without sending it.

        `targets` [T] are the tokens that came next, of an output of logits: the score is their log-likelihood, summed,
        in natural logarithms. Or they are values, as the output: the score is the squared error, averaged over steps
        and features. `output` names the one that is compared, where there are several. With `steps` the score of each
        step [T] as well.

        Raises as `step`.
        """
        score = await score_session(self._core, x, targets, output, timeout)
        return score if steps else score.total

    async def mark(self, name: str) -> None:
        """Keeps a copy of the state and position beside the session, under a name, after all steps begun before.

        `rewind` returns to it. One of that name is replaced. Marks are kept on the server and end with the session; it
        has at most `max_marks` (16 by default).

        Raises TypeError, InvalidInputError, LimitReachedError, SessionExpiredError, UnknownSessionError, DeadlineError,
        UnavailableError, ClosedError.
        """
        await self._core.mark(name)

    async def rewind(self, name: str) -> None:
        """Returns to a mark, to its state and its position, after all steps begun before. The marks stay.

        Steps that are begun before this returns are undone by it, or fail. Raises UnknownMarkError (there is no such
        mark; the session stays where it is), otherwise as `mark`.
        """
        await self._core.rewind(name)

    async def marks(self) -> dict[str, int]:
        """The marks that there are after all steps begun before: their positions by name, as they were made.

        Raises as `state`.
        """
        return await self._core.marks()

    async def drop_mark(self, name: str) -> None:
        """Forgets a mark. Raises as `rewind`."""
        await self._core.drop_mark(name)

    async def export(self) -> bytes:
        """The session as bytes, after all steps begun before: state, context and position, without marks. It goes on.

        `Model.import_session` begins one there, on this server or another that has the same model. The format is the
        contract's `ExportedSession`. Raises as `state`.
        """
        return await self._core.export()

    @overload
    async def fork(self) -> AsyncSession: ...
    @overload
    async def fork(self, n: int) -> AsyncSessionPool: ...
    async def fork(self, n: int | None = None) -> AsyncSession | AsyncSessionPool:
        """A session that begins where this one is after all steps begun before: at its position, with its state and
        context. With `n` a pool of so many, at most 1,024. They end when they are closed; this one goes on.

        Raises TypeError, InvalidInputError, LimitReachedError, RowErrors, SessionExpiredError, UnknownSessionError,
        DeadlineError, UnavailableError, ClosedError.
        """
        opened = await self._core.fork(1 if n is None else n)
        client, info = self._core.client, self._core.info
        if n is None:
            return AsyncSession(SessionCore(client, info, opened))
        return AsyncSessionPool(PoolCore(client, info, opened))

    async def end(self) -> None:
        """Waits for steps under way, then ends the session on the server, whoever named it, and frees its slot.

        One that has ended already is as good. Raises ClosedError (it was closed: `Model.end_sessions` ends sessions by
        id), DeadlineError, UnavailableError, AuthenticationError.
        """
        await self._core.end()

    async def close(self) -> None:
        """Waits for steps under way, then ends the session if the server made its id, else only lets go of it.

        One that the caller named stays on the server, to be resumed, until it has idled for too long: `end` ends it.
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

    def _begin(self, x: ArrayLike, options: StepOptions) -> LoopStep:
        pending = self._core.prepare(x, options, loop_future)
        self._submit(pending)
        return pending

    def _submit(self, pending: LoopStep) -> None:
        self._core.client.driver.submit_all(pending.chunks)
