"""A runtime: one model version as the engine runs it, with everything that it alone owns."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elman_models.errors import BundleError
from elman_models.graph.stack import GraphStack
from elman_models.stack import Stack
from elman_server.config.server_config import Limits
from elman_server.exchange.frames import Frame
from elman_server.exchange.initial import Initial
from elman_server.models.model import Model, Pool, RowsState, model_of, seam_tensors
from elman_server.models.transfer import transfer_of
from elman_server.scheduling.input_blocks import InputBlocks
from elman_server.scheduling.scheduler import Scheduler
from elman_server.sessions.handles import HandleKey
from elman_server.sessions.marks import Mark, Marks
from elman_server.sessions.replay_buffer import ReplayBuffer
from elman_server.sessions.table import Sessions
from elman_server.sessions.tombstones import Tombstones
from elman_server.tables.ref_counts import RefCounted
from elman_server.telemetry.metrics import ModelMetrics


class Runtime:
    """The rooms' parts that belong to one model version; used by the engine's thread alone, but for `spec`,
    `view` and `number`, which never change."""

    def __init__(
        self,
        stack: Stack | GraphStack,
        number: int,
        key: HandleKey,
        limits: Limits,
        tombstones: Tombstones,
        metrics: ModelMetrics,
    ) -> None:
        """Of a stack, by a server's limits.

        Raises:
            BundleError: there is no memory for so many sessions' states.
        """
        spec = stack.spec
        self.model = model_of(stack)
        self.view = self.model.view
        is_whole = self.view.needs_whole_sequences
        self.sessions_limit = "max_kept_states" if is_whole else "max_sessions"
        """Which of the limits says how many sessions there may be."""
        max_sessions = limits.max_kept_states if is_whole else limits.max_sessions
        self.spec = spec
        self.number = number
        self.stack = stack
        self.limits = limits
        self.tombstones = tombstones
        self.metrics = metrics
        self.sessions = Sessions(number, key, max_sessions, limits.max_infer_rows)
        num_slots = self.sessions.num_slots
        self.pool = _pool(self.model, num_slots, self.sessions_limit)
        self.transfer = transfer_of(stack.device)
        max_slice = None if is_whole else limits.max_slice
        self.scheduler = Scheduler(num_slots, limits.max_queue_rows, limits.max_rows, max_slice)
        self.inputs = InputBlocks(limits.max_queue_rows)
        self.replay_buffer = ReplayBuffer(num_slots, limits.replay_chunks, limits.replay_bytes)
        self.marks: Marks[RowsState] = Marks(limits.max_marks, limits.max_mark_bytes, self.pool.slot_bytes)
        self.frames: RefCounted[Frame] = RefCounted(limits.max_queue_rows)
        self.queue_bytes = 0
        self.borrowed = 0
        """Slots lent to `Infer`."""
        self.after: dict[int, list[Callable[[], None]]] = {}
        """What waits for a chunk to end, by its number."""
        self.starting_states: dict[int, RowsState] = {}
        """Of chunks longer than a slice, by number: put back if the engine fails."""
        self._set_at: dict[int, tuple[float, int]] = {}  # by slot: when its session began, and where its state was set
        self.turns = np.zeros(num_slots, np.int64)
        """[num_slots] how often a slot's session was put at another state than its steps here led to; it only grows."""
        self.next_expiry = 0.0
        """Seconds on the engine's clock before which no session can expire."""
        self.unloading = False
        self._watch()

    def _watch(self) -> None:
        self.metrics.watch_plans(self.stack.plans.names)
        self.metrics.watch(
            queue_rows=lambda: self.queue_rows,
            queue_bytes=lambda: self.queue_bytes,
            sessions=lambda: self.sessions.num_open,
            state_bytes=lambda: self.sessions.num_open * self.pool.slot_bytes,
        )

    @property
    def device(self) -> torch.device:
        """Where weights and state live."""
        return self.stack.device

    @property
    def weights_bytes(self) -> int:
        """Of its weights."""
        return self.stack.weights_bytes

    @property
    def slot_bytes(self) -> int:
        """Of one session's state."""
        return self.pool.slot_bytes

    @property
    def queue_rows(self) -> int:
        """Chunks that wait or run."""
        return self.scheduler.chunks.free.num_taken

    def begin(self, slots: NDArray[np.int64], initial: Initial) -> None:
        """Puts `slots` [K] at the state before the first step: what is given, else what the model begins with. Their
        context is the one given, which was checked."""
        context = {name: torch.from_numpy(array) for name, array in initial.context.items()}
        if initial.states:
            states = [torch.from_numpy(array) for array in initial.states]
            self.pool.replace(slots, self.model.initial(states, context))
        elif context:
            self.pool.reset(slots, context)
        else:
            self.pool.reset(slots)

    def set_states(self, slot: int, states: tuple[NDArray[Any], ...]) -> None:
        """Puts [layers or 1, 1, *features] of each state in place of a slot's own; none: what the model begins with."""
        slots = np.array([slot])
        self.turns[slot] += 1
        self._note_set(slot)
        self.begin(slots, Initial(states, self.context_of(slots)))

    def fork(self, slot: int, slots: NDArray[np.int64]) -> None:
        """Gives `slots` the state, context and position of `slot`."""
        self.pool.replace(slots, self.pool.read(np.array([slot])).repeated(len(slots)))
        self.sessions.position[slots] = self.sessions.position[slot]
        self.sessions.admitted[slots] = self.sessions.position[slot]
        self.replay_buffer.share(slot, slots)
        if self._is_set(slot):
            for child in slots.tolist():
                self._note_set(child)

    def last_output(self, slot: int, outputs: int) -> NDArray[Any] | None:
        """[*features] what a slot's session gave last, the record of `outputs`, if that is held."""
        if self._is_set(slot):
            return None  # it was given another state since
        held_slice = self.replay_buffer.last(slot, int(self.sessions.position[slot]))
        return held_slice and held_slice.result.last_output(held_slice.row, outputs, self.view)

    def _note_set(self, slot: int) -> None:
        self._set_at[slot] = (float(self.sessions.created[slot]), int(self.sessions.position[slot]))

    def _is_set(self, slot: int) -> bool:
        # Whether its session was given a state where it is now.
        return self._set_at.get(slot) == (float(self.sessions.created[slot]), int(self.sessions.position[slot]))

    def take_over(self, slots: NDArray[np.int64], made: Mapping[int, torch.Tensor]) -> None:
        """Gives `slots` [K] some of their states, by place, [layers or 1, K, *features]; the others stay."""
        there = self.pool.read(slots).tensors
        count = len(self.view.states)
        states = seam_tensors(self.view.states, there[:count])
        context = {one.name: tensor for one, tensor in zip(self.view.context, there[count:], strict=False)}
        states = [made.get(place, state) for place, state in enumerate(states)]
        self.pool.replace(slots, self.model.initial(states, context))

    def adopt(self, source: "Runtime", old: int, slot: int) -> None:
        """Has `slot` be what a slot of another version is, whose states agree: state, context, position and marks; and
        answers that are held for repeats, where the outputs agree, too."""
        mine, its = self.sessions, source.sessions
        self.pool.replace(np.array([slot]), self._own_state(source.pool.read(np.array([old]))))
        self.turns[slot] += 1  # it may have been here before
        mine.position[slot] = mine.admitted[slot] = its.position[old]
        mine.created[slot], mine.broken[slot] = its.created[old], its.broken[old]
        mine.set_ending(np.array([slot]), bool(its.ends_with_stream[old]))
        if self.view.output == source.view.output:
            self.replay_buffer.adopt(source.replay_buffer, old, slot)
        if old in source._set_at:
            self._set_at[slot] = source._set_at[old]
        for name, mark in source.marks.of(old).items():
            self.marks.put(slot, name, Mark(mark.position, self._own_state(mark.state)))

    def _own_state(self, state: RowsState) -> RowsState:
        # What this model calls the state of another one, that agrees with it.
        count = len(self.view.states)
        context = dict(zip([one.name for one in self.view.context], state.tensors[count:], strict=True))
        return self.model.initial(seam_tensors(self.view.states, state.tensors[:count]), context)

    def mark(self, slot: int, name: str) -> int:
        """Keeps the state and position of `slot` as a mark; the position.

        Raises:
            LimitReached: as `Marks.put`.
        """
        self.marks.check_room(slot, name)
        position = int(self.sessions.position[slot])
        self.marks.put(slot, name, Mark(position, self.pool.read(np.array([slot]))))
        return position

    def rewind(self, slot: int, mark: Mark[RowsState]) -> None:
        """Puts `slot`, which nothing runs for, at the state and position of a mark of its own."""
        slots = np.array([slot])
        self.turns[slot] += 1
        self.pool.replace(slots, mark.state)
        self.sessions.position[slot] = self.sessions.admitted[slot] = mark.position
        self.replay_buffer.forget(slots)  # its positions are used again, by other chunks

    def after_queued(self, slot: int, function: Callable[[], None]) -> None:
        """Calls `function` when the chunks that are queued for `slot` now have ended: at once where there are none."""
        queue = self.scheduler.queues.of(slot)
        if queue:
            self.after.setdefault(queue[-1], []).append(function)
        else:
            function()

    def context_of(self, slots: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """[K, *features] by name: the context of some slots."""
        tensors = self.pool.read(slots).tensors[len(self.view.states) :] if self.view.context else ()
        return {one.name: tensor.cpu().numpy() for one, tensor in zip(self.view.context, tensors, strict=True)}

    def states_of(self, slots: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        """[layers or 1, K, *features] of each state: those of some slots."""
        tensors = self.pool.read(slots).tensors[: len(self.view.states)]
        return tuple(tensor.cpu().numpy() for tensor in seam_tensors(self.view.states, tensors))

    def busy(self, slots: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
        """[n] which of `slots`, by default of all, have chunks that wait or run."""
        return self.scheduler.queues.busy(slots)


def _pool(model: Model, num_slots: int, limit: str) -> Pool:
    try:
        return model.pool(num_slots)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise BundleError(
            f"a session's state has {model.view.state_bytes:,} bytes, and there is no memory for {num_slots:,}, "
            f"{limit} and max_infer_rows together: lower them"
        ) from error
