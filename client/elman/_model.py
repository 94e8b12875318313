"""A model on the server, for threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Unpack, overload

from elman._calls.inference import Beginning, InferOptions, InferOutput
from elman._generating.generation import GenerationCore
from elman._generating.iterators import Generation
from elman._generating.request import GenerateOptions
from elman._model_core import ModelCore
from elman._pool import SessionPool
from elman._scoring import score_sequences
from elman._session import Session
from elman._session_cores import SessionCore
from elman._shared.arrays import ArrayLike
from elman._shared.hand_off import StateFrom
from elman._shared.info import ModelInfo, SessionInfo
from elman._shared.loop_thread import LoopThread
from elman._shared.results import State
from elman._shared.session_ids import OpenMode
from elman._stepping.options import Returning
from elman.wire import Array


class Model:
    """A model that the server has loaded. Made by `Client.model`."""

    def __init__(self, core: ModelCore, thread: LoopThread) -> None:
        self._core = core
        self._thread = thread

    def __repr__(self) -> str:
        return self._core.repr_of("Model")

    @property
    def info(self) -> ModelInfo:
        """What it takes and gives, as described when it was asked for."""
        return self._core.info

    def session(
        self,
        id: str | None = None,
        *,
        mode: OpenMode = "resume_or_new",
        context: Mapping[str, ArrayLike] | None = None,
        initial_state: Mapping[str, ArrayLike] | None = None,
        end_on_disconnect: bool | None = None,
        from_: Session | State | None = None,
        map: Mapping[str, str | StateFrom] | None = None,
    ) -> Session:
        """Opens a session, to be used in a `with`, or closed by hand.

        Without `id` a new one, which ends when it is closed. With `id` that one is resumed, or begun at position 0 if
        it never was; `resumed` of the session says which. With mode "resume" an id without a session is an error; with
        "new" the session begins at 0, even after it expired. Closing only lets go of it; `end` ends it.

        `context` is what the model takes for a session as a whole, by name, each [*features] (`info.context`). It is
        needed where the session may begin; one that goes on has its own, and another is an error. `initial_state`, a
        State or a dict by name, is what a new session begins with.

        With `end_on_disconnect` it ends on the server with the stream that carries its steps: when this process dies,
        its connection is cut for so long that the server sees it, or an open client is taken through a fork. None: as
        the server's settings say. One that was never stepped expires as any other.

        With `from_` it begins at position 0 with the state of another session, of this model or another one, as it is
        after all steps begun before, without leaving the server; or with a State that a model gave (a bidirectional
        encoder's `infer`). `map` says how each state is made, by name: of which state, which layers, what becomes of
        two directions (StateFrom); those that it does not name begin as the model begins. Without one they are made of
        another model's states as this one's bundle says (`hand_off` in model.yaml: linear layers, too), where it says
        so; else each is that of the same name. Names, layers and sizes that disagree raise InvalidInputError.

        Tried again after a cut, a session at position 0 is taken for the one that the lost try began. Where "new" gives
        up (UnavailableError, DeadlineError) the session may have begun: go on with another mode.

        Raises SessionExpiredError (an id that ended: it never silently begins at 0), SessionExistsError ("new", and
        the id lives: it is left alone), UnknownSessionError ("resume"), LimitReachedError, UnsupportedError (a
        bidirectional model), DeadlineError, UnavailableError, AuthenticationError; InvalidInputError and TypeError for
        what cannot be an id: 1 to 128 characters, no control characters.
        """
        return Session(
            self._thread.run(self._core.session(id, mode, context, initial_state, end_on_disconnect, from_, map)),
            self._thread,
        )

    def sessions(
        self,
        n: int | None = None,
        *,
        ids: Sequence[str] | None = None,
        mode: OpenMode = "resume_or_new",
        context: Mapping[str, ArrayLike] | None = None,
        initial_state: Mapping[str, ArrayLike] | None = None,
        end_on_disconnect: bool | None = None,
        from_: Session | SessionPool | State | None = None,
        map: Mapping[str, str | StateFrom] | None = None,
    ) -> SessionPool:
        """Opens `n` new sessions, or those called `ids`, to be stepped together; `context` is [n, *features] of each.
        With `from_` a pool of as many each begins from the one at its place. Otherwise as `session`.

        Raises RowErrors where some ids cannot be opened; then none is, and none was begun.
        """
        opening = self._core.sessions(n, ids, mode, context, initial_state, end_on_disconnect, from_, map)
        return SessionPool(self._thread.run(opening), self._thread)

    def import_session(self, exported: bytes, id: str | None = None) -> Session:
        """Begins a session where an exported one was: at its position, with its state and context.

        `exported` is what `Session.export` gave, of this model, by its weights; `id` as in `session`, mode "new".

        Raises TypeError, InvalidInputError (what is cut short, damaged, or of a newer server), UnsupportedError
        (another model's, or of other weights), SessionExistsError, LimitReachedError, DeadlineError, UnavailableError,
        AuthenticationError.
        """
        return Session(self._thread.run(self._core.import_session(exported, id)), self._thread)

    def move(self, session: Session, version: str = "") -> None:
        """Moves a session to another version of the model, with its state and position: retrained weights go on.

        After all steps begun before. `session` goes on as it was, at the same position. Empty: the highest version.

        Raises TypeError, InvalidInputError, UnsupportedError (names or shapes of the states disagree; it stays where it
        is), UnknownModelError (no such version), UnknownSessionError, SessionExpiredError, LimitReachedError,
        DeadlineError, UnavailableError, ClosedError.
        """
        self._thread.run(self._core.move(session, version))

    def generate(
        self, max_steps: int, *, context: Mapping[str, ArrayLike] | None = None, **options: Unpack[GenerateOptions]
    ) -> Generation:
        """As `Session.generate`, of a new session that ends with it; a prompt is needed. `context` as `session`."""
        client = self._core.client
        opened = partial(self._core.session, None, "new", context)
        core = GenerationCore(self.info, client.transport, opened, options, max_steps, ends_session=True)
        return Generation(core, self._thread)

    def score(
        self,
        x: ArrayLike | Sequence[ArrayLike],
        targets: ArrayLike | Sequence[ArrayLike],
        *,
        output: str | None = None,
        context: Mapping[str, ArrayLike] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """[K] how well what came next fits what the model gives, for each of K sequences; see `Session.score`.

        `x` is a list of K sequences of any lengths, or one, or an array [T, K, ...], as `infer` takes them, and
        `targets` likewise; of one sequence the score is a number. `context` [K, *features] by name. Raises as `infer`.
        """
        return self._thread.run(score_sequences(self._core, x, targets, output, context, timeout))

    def end_sessions(self, ids: Sequence[str]) -> None:
        """Ends the sessions called `ids`, on whatever version of the model they run, and frees their slots.

        Steps under way run first. Raises RowErrors where some do not exist or have ended already, by their place in
        `ids`; the others are ended. Otherwise InvalidInputError, DeadlineError, UnavailableError, AuthenticationError.
        """
        self._thread.run(self._core.end_sessions(ids))

    def list_sessions(self) -> Iterator[SessionInfo]:
        """The caller's sessions on all versions of the model, in pages that are asked for as they are needed.

        One that is open for as long as the listing lasts is listed exactly once. Raises UnknownModelError,
        DeadlineError, UnavailableError, AuthenticationError.
        """
        token: str | None = ""
        while token is not None:
            sessions, token = self._thread.run(self._core.sessions_page(token))
            yield from sessions

    @overload
    def infer(
        self,
        x: Sequence[Array],
        *,
        returning: Literal["all", "last"] | None = None,
        keep_state_as: None = None,
        **options: Unpack[InferOptions],
    ) -> tuple[list[Array], State]: ...
    @overload
    def infer(
        self,
        x: ArrayLike,
        *,
        returning: Literal["all", "last"] | None = None,
        keep_state_as: None = None,
        **options: Unpack[InferOptions],
    ) -> tuple[Array, State]: ...
    @overload
    def infer(
        self,
        x: ArrayLike,
        *,
        returning: Literal["none"],
        keep_state_as: None = None,
        **options: Unpack[InferOptions],
    ) -> tuple[None, State]: ...
    @overload
    def infer(
        self,
        x: ArrayLike,
        *,
        returning: Returning | None = None,
        keep_state_as: str,
        **options: Unpack[InferOptions],
    ) -> tuple[InferOutput, Session]: ...
    @overload
    def infer(
        self,
        x: ArrayLike,
        *,
        returning: Returning | None = None,
        keep_state_as: list[str] | tuple[str, ...],
        **options: Unpack[InferOptions],
    ) -> tuple[InferOutput, SessionPool]: ...
    def infer(
        self,
        x: ArrayLike,
        *,
        h_0: ArrayLike | None = None,
        c_0: ArrayLike | None = None,
        initial_state: Mapping[str, ArrayLike] | None = None,
        context: Mapping[str, ArrayLike] | None = None,
        returning: Returning | None = None,
        outputs: Sequence[str] | None = None,
        keep_state_as: str | Sequence[str] | None = None,
        timeout: float | None = None,
        progress: bool = False,
    ) -> tuple[InferOutput, State | Session | SessionPool]:
        """Runs whole sequences without a session; the only way for bidirectional models.

        `x` is one sequence [T, input_size] (ids [T] for a token model), a list of K of any lengths, or an array
        [T, K, input_size] (ids [T, K]) of K of one length, as `sessions(K)` steps it. `h_0` is [num_layers x
        directions, K, proj_size or hidden_size] and `c_0`, LSTM only, [num_layers x directions, K, hidden_size]; None:
        zeros.

        `initial_state` is a State, or a dict of a model's states by name, in place of `h_0` and `c_0`; `context` [K,
        *features] by name. Several inputs are a dict for one sequence, a list of K dicts, or a dict of arrays [T, K,
        *features]; several outputs come likewise (see `Session.step`).

        Returns the output [T, output_size] ([output_size] with "last", None with "none"), a list of K of them for a
        list, or [T, K, output_size] ([K, output_size]) for an array, and the states after the last steps. Of no
        sequences (an empty list, K = 0) the outputs and states are empty.

        With `keep_state_as`, an id, or one for each of K sequences, the states after the last steps stay on the server,
        and a new session comes in their place, or a pool of K: at the position of its length, to be stepped on, or, of
        a bidirectional model, to be handed to a decoder (`session(from_=...)`), read, exported and ended. It is kept
        until it is ended or expires; closing only lets go of it. `model.session(id, mode="resume")` finds it again.

        What is more than the server takes at a time (`max_infer_rows`, `max_frame_bytes`) travels in several requests,
        one after the other: by sequences, and within a sequence by steps, but for a bidirectional model, which takes
        each sequence whole, as where its state is kept. With `progress` a bar shows how far it is (by tqdm, of
        the extra "elman[progress]").

        Raises InvalidInputError, LimitReachedError (a sequence that cannot be cut is too large, or there is no room to
        keep a state), SessionExistsError (an id of `keep_state_as` is taken), DeadlineError, UnavailableError,
        AuthenticationError, ServerError, MissingExtraError.
        """
        options = self._core.client.options(returning, outputs, True, timeout, progress)
        beginning = Beginning(h_0, c_0, initial_state, context)
        if keep_state_as is None:
            return self._thread.run(self._core.infer(x, beginning, options))
        output, kept = self._thread.run(self._core.infer_kept(x, beginning, options, keep_state_as))
        if isinstance(kept, SessionCore):
            return output, Session(kept, self._thread)
        return output, SessionPool(kept, self._thread)
