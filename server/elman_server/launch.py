"""A launch: one batch on its way through the model, from the states it reads to those it writes."""

import logging
from typing import NamedTuple

import numpy as np
import torch

from elman_models.packed import Packed
from elman_models.state import State
from elman_server.clock import Clock
from elman_server.scheduler import Batch
from elman_server.worker import Worker

log = logging.getLogger(__name__)


class Result(NamedTuple):
    """What a launch gave."""

    output: torch.Tensor  # [num_steps, output_size] packed, on the host
    state: State  # of the rows after their last step, on the device
    starting_states: dict[int, State]
    """Of the chunks that begin here and go on after, by number."""
    plan_name: str
    seconds: float
    """From gathering to scattering."""


class Launch:
    """Runs once, on whichever thread."""

    def __init__(self, worker: Worker, batch: Batch, clock: Clock, before: "Launch | None" = None) -> None:
        """On the engine's thread. `before`: a launch of the same worker under way, without which this must not run."""
        chunks = worker.runtime.scheduler.chunks
        self.worker = worker
        self.batch = batch
        self.result: Result | None = None
        """None until it has run, and if it failed."""
        self._clock = clock
        self._before = before
        self._data = worker.runtime.inputs.gather(chunks, batch)  # [num_steps, *features]
        self._longer: list[int] = []  # rows of chunks that begin here and go on after
        if batch.begins_longer:
            lengths = chunks["length"][batch.numbers]
            self._longer = np.flatnonzero((batch.starts == 0) & (batch.takes < lengths)).tolist()

    def run(self) -> None:
        """Returns in any case; a launch that failed has written no state."""
        try:
            if self._before is None or self._before.result:
                self.result = self._run()
        except Exception:
            log.exception("a batch of model %s failed", self.worker.runtime.spec.name)
        self._before = None

    def _run(self) -> Result:
        runtime, slots, began = self.worker.runtime, self.batch.slots, self._clock.now()
        data = torch.from_numpy(self._data).to(runtime.device)
        before = runtime.pool.read(slots)
        output, state = runtime.stack.step(Packed(data, self.batch.sizes), before)
        output = output.cpu()  # on CUDA what failed on the device is told here, before anything is written
        runtime.pool.replace(slots, state)
        return Result(output, state, self._starts(before), runtime.stack.plan_name, self._clock.now() - began)

    def _starts(self, before: State) -> dict[int, State]:
        # A chunk longer than a slice is all or nothing: its starting state is put back if a later slice fails.
        numbers = self.batch.numbers
        return {int(numbers[r]): before.rows(torch.tensor([r], device=before.h.device)) for r in self._longer}
