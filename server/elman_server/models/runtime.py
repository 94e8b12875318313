"""A runtime: one model version as the engine runs it, with everything that it alone owns."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from elman_models.stack import Stack
from elman_models.state import State, StatePool
from elman_server.config.server_config import Limits
from elman_server.exchange.frames import Frame
from elman_server.exchange.model_view import InputSpec
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
    `input` and `number`, which never change."""

    def __init__(
        self,
        stack: Stack,
        number: int,
        key: HandleKey,
        limits: Limits,
        tombstones: Tombstones,
        metrics: ModelMetrics,
    ) -> None:
        spec = stack.spec
        max_sessions = 0 if spec.bidirectional else limits.max_sessions
        self.spec = spec
        self.input = InputSpec.of(spec)
        self.number = number
        self.stack = stack
        self.limits = limits
        self.tombstones = tombstones
        self.metrics = metrics
        self.sessions = Sessions(number, key, max_sessions, limits.max_infer_rows)
        num_slots = self.sessions.num_slots
        self.pool = StatePool(spec, num_slots, stack.device)
        self.transfer = transfer_of(stack.device)
        max_slice = None if spec.bidirectional else limits.max_slice
        self.scheduler = Scheduler(num_slots, limits.max_queue_rows, limits.max_rows, max_slice)
        self.inputs = InputBlocks(limits.max_queue_rows)
        self.held = ReplayBuffer(num_slots, limits.replay_chunks, limits.replay_bytes)
        self.frames: RefCounted[Frame] = RefCounted(limits.max_queue_rows)
        self.queue_bytes = 0
        self.borrowed = 0
        """Slots lent to `Infer`."""
        self.after: dict[int, list[Callable[[], None]]] = {}
        """What waits for a chunk to end, by its number."""
        self.starting_states: dict[int, State] = {}
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

    def busy(self, slots: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
        """[n] which of `slots`, by default of all, have chunks that wait or run."""
        return self.scheduler.queues.busy(slots)
