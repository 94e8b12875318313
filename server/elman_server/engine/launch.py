"""A launch: one batch on its way through the model, from the states it reads to those it writes."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from elman_server.engine.commit import Committed
from elman_server.engine.worker import Worker
from elman_server.models.model import RowsState, seam_tensors
from elman_server.scheduling.scheduler import Batch
from elman_server.threads.clock import Clock

log = logging.getLogger(__name__)

Array = NDArray[Any]


class Result(NamedTuple):
    """What a launch gave."""

    outputs: Sequence[torch.Tensor]
    """Those that some row wants, [num_steps, *features] packed, or of the last steps alone [B, *features]; on the
    host."""
    states: Sequence[torch.Tensor]
    """[layers or 1, B, *features] after each row's last step, on the host; none where no row wants them."""
    starting_states: dict[int, RowsState]
    """Of the chunks that begin here and go on after, by number."""
    plan_name: str
    num_computed: int
    """Time steps, over all rows."""
    seconds: float
    """From reading the states to the last of what came back."""


class Launch:
    """Begins and lands once; an asynchronous device computes in between."""

    def __init__(self, worker: Worker, batch: Batch, clock: Clock) -> None:
        """On the engine's thread."""
        self.worker = worker
        self.batch = batch
        self.result: Result | None = None
        """None until it has landed, and if it failed."""
        self._clock = clock
        self._longer: list[int] = []  # rows of chunks that begin here and go on after
        if batch.begins_longer:
            lengths = worker.runtime.scheduler.chunks["length"][batch.numbers]
            self._longer = np.flatnonzero((batch.starts == 0) & (batch.takes < lengths)).tolist()
        self._before: RowsState | None = None  # what was overwritten
        self._began = 0.0
        self._land: Callable[[], Result] | None = None
        self._committed: Committed | None = None

    def begin(self) -> None:
        """Gathers its input, reads the states that it begins from, and hands the batch to the device; a failure of the
        device's is kept for `land`."""
        runtime, batch = self.worker.runtime, self.batch
        data = runtime.inputs.gather(runtime.scheduler.chunks, batch)
        try:
            self._began = self._clock.now()
            self._land = self._begin(data, runtime.pool.read(batch.slots))
        except Exception as error:  # noqa: BLE001 - backends raise what they like
            self._fail(error)

    def land(self) -> None:
        """Waits for what the device gives."""
        try:
            self.result = self._land() if self._land else None
        except Exception as error:  # noqa: BLE001
            self._fail(error)
        self._land = None  # it refers to the launch, whose states are to be freed at once, not by the garbage collector

    def commit(self, result: Result) -> None:
        """Commits what it gave; `clean_up` is to follow before anything else is admitted."""
        self.worker.runtime.starting_states.update(result.starting_states)
        self._committed = self.worker.commit.batch(
            self.batch, result.outputs, result.states, self._began + result.seconds
        )

    def clean_up(self) -> None:
        """Does what no answer has to wait for, once: what was committed is let go, and the batch is counted."""
        committed, self._committed = self._committed, None
        if committed and self.result:
            self.worker.commit.clean_up(committed)
            metrics, batch = self.worker.runtime.metrics, self.batch
            self.worker.runtime.scheduler.observe_waits(batch, self._began, metrics.queue_seconds)
            rows, computed = len(batch.numbers), self.result.num_computed
            metrics.ran(self.result.plan_name, rows, batch.num_steps, computed, self.result.seconds)

    def rollback(self) -> None:
        """Puts the states back that it has overwritten: it failed, or it followed one that did."""
        try:
            if self._before is not None:
                self.worker.runtime.pool.replace(self.batch.slots, self._before)
        except Exception as error:  # noqa: BLE001 - a CUDA device that has failed takes nothing any more
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        log.error("a batch of model %s failed", self.worker.runtime.spec.name, exc_info=error)
        self._land = self.result = None

    def _begin(self, data: Array, before: RowsState) -> Callable[[], Result]:
        # `data`: [num_steps, *features] of the input record; `before`: the states of the batch's slots.
        runtime, batch = self.worker.runtime, self.batch
        inputs = [runtime.transfer.to_device(one) for one in runtime.view.input.tensors(data)]
        # Nothing steps on from a state of a model that needs whole sequences: without it no more is run than needed.
        with_state = batch.wants_state or not runtime.view.needs_whole_sequences
        outputs, state = runtime.model.step(
            inputs, batch.sizes, before, outputs=batch.outputs, last_only=batch.last_only, with_state=with_state
        )
        self._before = before
        if with_state:
            runtime.pool.replace(batch.slots, state)
        asked = seam_tensors(runtime.view.states, state.tensors) if batch.wants_state else []
        coming = runtime.transfer.to_host([*outputs, *asked])
        plan_name, num_computed = runtime.stack.plan_name, runtime.stack.num_computed
        # A chunk longer than a slice is all or nothing: its starting state is put back if a later slice fails.
        starting_states = {int(batch.numbers[r]): before.row(r) for r in self._longer}

        def land() -> Result:
            there = coming.wait()
            seconds = self._clock.now() - self._began
            count = len(outputs)
            return Result(there[:count], there[count:], starting_states, plan_name, num_computed, seconds)

        return land
