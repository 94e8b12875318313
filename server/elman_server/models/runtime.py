"""A runtime: one model version as the engine runs it, with everything that it alone owns."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elman_models.graph.stack import GraphStack
from elman_models.stack import Stack
from elman_server.config.server_config import Limits
from elman_server.exchange.frames import Frame
from elman_server.exchange.initial import Initial
from elman_server.models.model import RowsState, model_of, seam_tensors
from elman_server.models.transfer import transfer_of
from elman_server.scheduling.input_blocks import InputBlocks
from elman_server.scheduling.scheduler import Scheduler
from elman_server.sessions.handles import HandleKey
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
        spec = stack.spec
        self.model = model_of(stack)
        self.view = self.model.view
        is_whole = self.view.needs_whole_sequences
        max_sessions = 0 if is_whole else limits.max_sessions
        self.spec = spec
        self.number = number
        self.stack = stack
        self.limits = limits
        self.tombstones = tombstones
        self.metrics = metrics
        self.sessions = Sessions(number, key, max_sessions, limits.max_infer_rows)
        num_slots = self.sessions.num_slots
        self.pool = self.model.pool(num_slots)
        self.transfer = transfer_of(stack.device)
        max_slice = None if is_whole else limits.max_slice
        self.scheduler = Scheduler(num_slots, limits.max_queue_rows, limits.max_rows, max_slice)
        self.inputs = InputBlocks(limits.max_queue_rows)
        self.held = ReplayBuffer(num_slots, limits.replay_chunks, limits.replay_bytes)
        self.frames: RefCounted[Frame] = RefCounted(limits.max_queue_rows)
        self.queue_bytes = 0
        self.borrowed = 0
        """Slots lent to `Infer`."""
        self.after: dict[int, list[Callable[[], None]]] = {}
        """What waits for a chunk to end, by its number."""
        self.starting_states: dict[int, RowsState] = {}
        """Of chunks longer than a slice, by number: put back if the engine fails."""
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
    def queue_rows(self) -> int:
        """Chunks that wait or run."""
        return self.scheduler.chunks.num_live

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
        self.begin(slots, Initial(states, self.context_of(slots)))

    def fork(self, slot: int, slots: NDArray[np.int64]) -> None:
        """Gives `slots` the state, context and position of `slot`."""
        self.pool.replace(slots, self.pool.read(np.array([slot])).repeated(len(slots)))
        self.sessions.position[slots] = self.sessions.position[slot]
        self.sessions.admitted[slots] = self.sessions.position[slot]
        self.held.share(slot, slots)

    def last_output(self, slot: int, outputs: int) -> NDArray[Any] | None:
        """[*features] what a slot's session gave last, the record of `outputs`, if that is held."""
        piece = self.held.last(slot, int(self.sessions.position[slot]))
        return piece and piece.page.last_output(piece.row, outputs, self.view)

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
