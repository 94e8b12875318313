"""What a model is for coroutines and threads alike."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from elman._calls.infer_input import Form, check_infer_input, check_keep_as
from elman._calls.infer_parts import InferLimits
from elman._calls.inference import Beginning, Inference, InferOutput
from elman._calls.session_opener import Begun, OpenedSessions
from elman._client_core import ClientCore
from elman._progress import progress_bar
from elman._session_cores import PoolCore, SessionCore
from elman._shared.arrays import ArrayLike, to_context, to_states
from elman._shared.checks import check_count, check_switch, check_text
from elman._shared.errors import ElmanError, InvalidInputError, RowErrors
from elman._shared.hand_off import of_session, of_sessions, of_state
from elman._shared.info import ModelInfo, SessionInfo, TensorInfo, model_label
from elman._shared.records import Arrays
from elman._shared.results import State
from elman._shared.session_ids import OpenMode, check_id, check_ids, mode_code
from elman._stepping.options import StepOptions
from elman.v1 import models_pb2, sessions_pb2
from elman.wire import Array

_PAGE_SIZE = 1000


class ModelCore:
    """A model's description, and what can be opened on it."""

    def __init__(self, client: ClientCore, info: ModelInfo, version: str) -> None:
        self.client = client
        self.info = info
        self._infer_limits = InferLimits(client.max_data_bytes)
        self._version = version  # as the caller asked; empty: the highest, or that of a resumed session

    @classmethod
    async def describe(cls, client: ClientCore, name: str, version: str) -> ModelCore:
        """Asks the server. Raises TypeError, ElmanError."""
        check_text("name", name)
        check_text("version", version)
        request = models_pb2.DescribeModelRequest(model=name, version=version)
        response = await client.transport.call(client.transport.models.DescribeModel, request)
        return cls(client, ModelInfo.from_proto(response.model), version)

    def repr_of(self, kind: str) -> str:
        """Such as <elman.Model 'char-lm' version '1' at localhost:8470: lstm, 2 layers of 512>."""
        return f"<elman.{kind} {model_label(self.info)} at {self.client.transport.target.address}: {self._what()}>"

    def _what(self) -> str:
        info = self.info
        if info.cell is None:
            takes, gives = _listed(info.inputs), _listed(info.outputs)
            return f"{takes} to {gives}{', whole sequences' * info.needs_whole_sequences}"
        layers = f"{info.num_layers} layer{'s' * (info.num_layers > 1)} of {info.hidden_size}"
        return f"{info.cell}, {layers}{', bidirectional' * info.bidirectional}"

    async def session(
        self,
        session_id: str | None,
        mode: OpenMode,
        context: object,
        initial_state: object = None,
        end_on_disconnect: object = None,
        from_: object = None,
        state_map: object = None,
    ) -> SessionCore:
        """Opens one session. Raises TypeError, ElmanError."""
        ids = None if session_id is None else [check_id("id", session_id)]
        states = self._states(initial_state, mode, 1, is_new=ids is None)
        hand_off = await self._hand_off(from_, state_map, mode, initial_state, is_new=ids is None)
        begun = Begun(self._context(context, mode, None), states, _check_ends(end_on_disconnect), hand_off)
        opened = await self._open(1, ids, mode, begun)
        return SessionCore(self.client, await self._info_of(opened), opened)

    async def sessions(
        self,
        count: int | None,
        ids: Sequence[str] | None,
        mode: OpenMode,
        context: object,
        initial_state: object = None,
        end_on_disconnect: object = None,
        from_: object = None,
        state_map: object = None,
    ) -> PoolCore:
        """Opens `count` new sessions, or those of `ids`. Raises TypeError, ElmanError."""
        if (count is None) == (ids is None):
            raise InvalidInputError("sessions: expected a number of sessions or their ids, one of the two")
        checked = None if ids is None else check_ids(ids)
        number = check_count("n", count) if checked is None else len(checked)
        states = self._states(initial_state, mode, number, is_new=checked is None)
        hand_off = await self._hand_off(from_, state_map, mode, initial_state, is_new=checked is None, num_rows=number)
        begun = Begun(self._context(context, mode, number), states, _check_ends(end_on_disconnect), hand_off)
        opened = await self._open(number, checked, mode, begun)
        return PoolCore(self.client, await self._info_of(opened), opened)

    async def import_session(self, exported: object, session_id: str | None) -> SessionCore:
        """Begins a session where an exported one was. Raises TypeError, ElmanError."""
        if not isinstance(exported, bytes | bytearray | memoryview):
            raise TypeError(f"exported: expected bytes, as Session.export gives them, got {type(exported).__name__}")
        checked = None if session_id is None else check_id("id", session_id)
        opened = await self.client.opener.import_session(self.info, bytes(exported), checked)
        return SessionCore(self.client, await self._info_of(opened), opened)

    async def move(self, session: object, version: object) -> None:
        """Moves a session to another version of the model. Raises TypeError, ElmanError."""
        core = self._core_of(session, "session", "a session")
        check_text("version", version)
        if core.info.name != self.info.name:
            raise InvalidInputError(f"session: expected one of model {self.info.name!r}, got one of {core.info.name!r}")
        await core.settled_id()
        deadline = self.client.transport.deadline()
        moved = await self.client.opener.move(self.info, core.opened, str(version), deadline)
        core.info = (await ModelCore.describe(self.client, self.info.name, moved)).info

    def _core_of(self, session: object, name: str, expected: str) -> SessionCore:
        core = getattr(session, "_core", None)
        if not isinstance(core, SessionCore):
            raise TypeError(f"{name}: expected {expected}, got {session!r:.100}")
        if core.client is not self.client:
            raise InvalidInputError(f"{name}: expected a session of the same client")
        return core

    async def end_sessions(self, ids: Sequence[str]) -> None:
        """Ends sessions by id. Raises TypeError, RowErrors, ElmanError."""
        if errors := await self.client.opener.ender.end(self.info.name, check_ids(ids)):
            raise RowErrors(errors)

    async def sessions_page(self, token: str) -> tuple[list[SessionInfo], str | None]:
        """The page that `token` (empty: the first) stands for, and the next one's token (None: it was the last)."""
        transport = self.client.transport
        request = sessions_pb2.ListSessionsRequest(model=self.info.name, page_size=_PAGE_SIZE, page_token=token)
        response = await transport.call(transport.sessions.ListSessions, request)
        return [SessionInfo.from_proto(session) for session in response.sessions], response.next_page_token or None

    async def infer(
        self,
        x: ArrayLike,
        beginning: Beginning,
        options: StepOptions,
    ) -> tuple[InferOutput, State]:
        """Runs whole sequences. Raises TypeError, ElmanError."""
        checked = check_infer_input(x, self.info)
        inference = Inference(checked, self.info, options.of(self.info), beginning)
        with progress_bar(options.progress, int(checked.lengths.sum())) as tick:
            return await inference.run(self.client.transport, self._infer_limits, tick)

    async def infer_kept(
        self, x: ArrayLike, beginning: Beginning, options: StepOptions, keep_as: object
    ) -> tuple[InferOutput, SessionCore | PoolCore]:
        """As `infer`; the states stay on the server, as sessions: one of one sequence, else a pool of them.

        Raises TypeError, ElmanError; then none is kept.
        """
        checked = check_infer_input(x, self.info)
        ids = check_keep_as(keep_as, checked)
        if not ids:
            raise InvalidInputError("keep_state_as: expected at least one sequence, got none")
        inference = Inference(checked, self.info, options.of(self.info), beginning, ids)
        opener = self.client.opener
        try:
            with progress_bar(options.progress, int(checked.lengths.sum())) as tick:
                output, _ = await inference.run(self.client.transport, self._infer_limits, tick)
            opened = await opener.open_named(self.info, "", ids, mode_code("resume"), Begun({}))
        except (ElmanError, asyncio.CancelledError):
            opener.ender.abandon(self.info.name, inference.kept, is_named=True)
            raise
        opened = replace(opened, resumed=[False] * len(ids), begun=ids)
        kind = SessionCore if checked.form is Form.SINGLE else PoolCore
        return output, kind(self.client, await self._info_of(opened), opened)

    def _context(self, context: object, mode: OpenMode, num_rows: int | None) -> Arrays:
        if context is None and (mode == "resume" or self.info.needs_whole_sequences):
            return {}  # the sessions have theirs; or there are to be none, as the server will say
        return to_context(context, self.info, num_rows)

    def _states(self, state: object, mode: OpenMode, num_rows: int, *, is_new: bool) -> list[Array] | None:
        if state is None:
            return None
        if not is_new and mode != "new":
            raise InvalidInputError('initial_state: a session that exists has its own; expected mode="new", or no id')
        return to_states(state, self.info, num_rows, "initial_state")

    async def _hand_off(
        self,
        from_: object,
        state_map: object,
        mode: OpenMode,
        initial_state: object,
        *,
        is_new: bool,
        num_rows: int | None = None,
    ) -> sessions_pb2.HandOff | None:
        if from_ is None:
            if state_map is not None:
                raise InvalidInputError("map: says how the states of from_ are taken, and there is no from_")
            return None
        if initial_state is not None:
            raise InvalidInputError("expected from_ or initial_state, got both")
        if not is_new and mode != "new":
            raise InvalidInputError('from_: a session that exists has its own state; expected mode="new", or no id')
        if isinstance(from_, State):
            return of_state(from_, state_map)
        pool = getattr(from_, "_core", None)
        if isinstance(pool, PoolCore):
            if pool.client is not self.client:
                raise InvalidInputError("from_: expected sessions of the same client")
            if num_rows is None or num_rows != len(pool.ids):
                got = "a session" if num_rows is None else num_rows
                raise InvalidInputError(f"from_: expected as many sessions as the pool's {len(pool.ids)}, got {got}")
            return of_sessions(pool.info.name, await pool.settled_ids(), state_map)
        core = self._core_of(from_, "from_", "a session, a pool of sessions or a State")
        return of_session(core.info.name, await core.settled_id(), state_map)

    async def _open(self, count: int, ids: list[str] | None, mode: OpenMode, begun: Begun) -> OpenedSessions:
        opener, code = self.client.opener, mode_code(mode)
        if ids is not None:
            return await opener.open_named(self.info, self._version, ids, code, begun)
        if mode == "resume":
            raise InvalidInputError("mode: expected an id to resume; without one a session is new")
        return await opener.open_new(self.info, count, begun)

    async def _info_of(self, opened: OpenedSessions) -> ModelInfo:
        """A resumed session may run on another version than the one described."""
        if opened.version == self.info.version:
            return self.info
        try:
            return (await ModelCore.describe(self.client, self.info.name, opened.version)).info
        except (ElmanError, asyncio.CancelledError):
            self.client.opener.abandon(self.info.name, opened)
            raise


def _check_ends(value: object) -> bool | None:
    if value is None:
        return None
    check_switch("end_on_disconnect", value)
    return bool(value)


def _listed(tensors: Sequence[TensorInfo]) -> str:
    return ", ".join(f"{one.name} {list(one.features)}" for one in tensors)
