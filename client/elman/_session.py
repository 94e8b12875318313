"""A session, for threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self, Unpack, overload

from elman._generating.generation import GenerationCore
from elman._generating.iterators import Generation
from elman._generating.request import GenerateOptions
from elman._open_session import OpenSession
from elman._pool import SessionPool
from elman._progress import wait_with_bar
from elman._scoring import Score, score_session
from elman._session_cores import PoolCore, SessionCore
from elman._shared.arrays import ArrayLike
from elman._shared.errors import ElmanError
from elman._shared.loop_thread import LoopThread
from elman._shared.results import State, StepResult
from elman._stepping.answers import thread_future, wait_answers
from elman._stepping.options import Returning, StepOptions
from elman._stepping.pipeline import ThreadStep, check_chunks, thread_pipeline
from elman.wire import Array


class Session(OpenSession):
    """A running sequence on one model, whose state stays on the server. Made by `Model.session`.

    Threads may step it at the same time; their chunks are applied in the order in which the calls reach the loop.
    """

    def __init__(self, core: SessionCore, thread: LoopThread) -> None:
        super().__init__(core)
        self._thread = thread

    @overload
    def step(
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
    def step(
        self, x: ArrayLike, *, returning: Literal["none"], timeout: float | None = None, progress: bool = False
    ) -> None: ...
    @overload
    def step(
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
    def step(
        self,
        x: ArrayLike,
        *,
        returning: Literal["none"],
        state: Literal[True],
        timeout: float | None = None,
        progress: bool = False,
    ) -> StepResult[None]: ...
    def step(
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
        pending = self._core.prepare(x, options, thread_future)
        if progress:
            wait_with_bar(pending, self._submit)
        else:
            self._submit(pending)
            wait_answers(pending.futures, options.timeout_seconds)
        return pending.result()  # type: ignore[no-any-return]  # `returning` decides, as the overloads say

    def stream(
        self,
        chunks: Iterable[ArrayLike],
        *,
        returning: Literal["all", "last"] | None = None,
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
        max_in_flight: int | None = None,
    ) -> Iterator[Array]:
        """Steps through `chunks`, each as `step` takes it, and yields their outputs in order as they come.

        Up to `max_in_flight` chunks (None: as many as the server holds answers for) are under way at a time, and
        that many are taken from `chunks` ahead of the outputs. Raises as `step`.
        """
        options = self._core.client.stream_options(returning, outputs, timeout)
        check_chunks(chunks, may_be_async=False)
        return thread_pipeline(chunks, lambda x: self._begin(x, options), self._core.window(max_in_flight))

    def state(self) -> State:
        """The state after all steps begun before: h_n and c_n [num_layers, 1, size], and the position.

        Raises SessionExpiredError, UnknownSessionError, UnavailableError, ClosedError.
        """
        return self._thread.run(self._core.state())

    def set_state(self, state: Mapping[str, ArrayLike]) -> None:
        """Puts `state`, a State or a dict by name of one row, in place of its own, after all steps begun before.

        The position goes on counting. Steps that are begun before this returns may run before or after it.

        Raises TypeError, InvalidInputError, SessionExpiredError, UnknownSessionError, DeadlineError, UnavailableError,
        ClosedError.
        """
        if state is None:
            raise TypeError("state: expected a State or a dict, got None; reset() puts back what the model begins with")
        self._thread.run(self._core.set_state(state))

    def reset(self) -> None:
        """Puts its state back to what the model begins with, after all steps begun before; as `set_state`."""
        self._thread.run(self._core.set_state(None))

    def generate(self, max_steps: int, **options: Unpack[GenerateOptions]) -> Generation:
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
        return Generation(core, self._thread)

    @overload
    def score(
        self, x: ArrayLike, targets: ArrayLike, *, output: str | None = None, timeout: float | None = None
    ) -> float: ...
    @overload
    def score(
        self,
        x: ArrayLike,
        targets: ArrayLike,
        *,
        output: str | None = None,
        steps: Literal[True],
        timeout: float | None = None,
    ) -> Score: ...
    def score(
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
        score = self._thread.run(score_session(self._core, x, targets, output, timeout))
        return score if steps else score.total

    def mark(self, name: str) -> None:
        """Keeps a copy of the state and position beside the session, under a name, after all steps begun before.

        `rewind` returns to it. One of that name is replaced. Marks are kept on the server and end with the session; it
        has at most `max_marks` (16 by default).

        Raises TypeError, InvalidInputError, LimitReachedError, SessionExpiredError, UnknownSessionError, DeadlineError,
        UnavailableError, ClosedError.
        """
        self._thread.run(self._core.mark(name))

    def rewind(self, name: str) -> None:
        """Returns to a mark, to its state and its position, after all steps begun before. The marks stay.

        Steps that are begun before this returns are undone by it, or fail. Raises UnknownMarkError (there is no such
        mark; the session stays where it is), otherwise as `mark`.
        """
        self._thread.run(self._core.rewind(name))

    def marks(self) -> dict[str, int]:
        """The marks that there are after all steps begun before: their positions by name, as they were made.

        Raises as `state`.
        """
        return self._thread.run(self._core.marks())

    def drop_mark(self, name: str) -> None:
        """Forgets a mark. Raises as `rewind`."""
        self._thread.run(self._core.drop_mark(name))

    def export(self) -> bytes:
        """The session as bytes, after all steps begun before: state, context and position, without marks. It goes on.

        `Model.import_session` begins one there, on this server or another that has the same model. The format is the
        contract's `ExportedSession`. Raises as `state`.
        """
        return self._thread.run(self._core.export())

    @overload
    def fork(self) -> Session: ...
    @overload
    def fork(self, n: int) -> SessionPool: ...
    def fork(self, n: int | None = None) -> Session | SessionPool:
        """A session that begins where this one is after all steps begun before: at its position, with its state and
        context. With `n` a pool of so many, at most 1,024. They end when they are closed; this one goes on.

        Raises TypeError, InvalidInputError, LimitReachedError, RowErrors, SessionExpiredError, UnknownSessionError,
        DeadlineError, UnavailableError, ClosedError.
        """
        opened = self._thread.run(self._core.fork(1 if n is None else n))
        client, info = self._core.client, self._core.info
        if n is None:
            return Session(SessionCore(client, info, opened), self._thread)
        return SessionPool(PoolCore(client, info, opened), self._thread)

    def end(self) -> None:
        """Waits for steps under way, then ends the session on the server, whoever named it, and frees its slot.

        One that has ended already is as good. Raises ClosedError (it was closed: `Model.end_sessions` ends sessions by
        id), DeadlineError, UnavailableError, AuthenticationError.
        """
        self._thread.run(self._core.end())

    def close(self) -> None:
        """Waits for steps under way, then ends the session if the server made its id, else only lets go of it.

        One that the caller named stays on the server, to be resumed, until it has idled for too long: `end` ends it.
        """
        self._thread.run(self._core.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except ElmanError:
            if error is None:  # else what went wrong first is what the caller needs to see
                raise

    def _begin(self, x: ArrayLike, options: StepOptions) -> ThreadStep:
        pending = self._core.prepare(x, options, thread_future)
        self._submit(pending)
        return pending

    def _submit(self, pending: ThreadStep) -> None:
        self._thread.post(self._core.client.driver.submit_all, pending.chunks)
