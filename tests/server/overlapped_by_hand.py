"""An engine that begins batches before others have landed, driven by hand."""

from collections.abc import Sequence
from typing import Any

import torch
from stepped_engine import SteppedEngine
from toys import CPU, Toy

from elman_server.engine.overlapped import InFlightBatches, OverlappedEngine
from elman_server.models.transfer import Direct, PendingTransfer, Tensors


class Lagging(Direct):
    """A device that computes on after it was asked, as CUDA does, on the CPU; some of what comes back may be lost."""

    is_asynchronous = True

    def __init__(self) -> None:
        self.lost = 0
        """How many of the next results are lost on their way."""

    def to_host(self, tensors: Tensors) -> PendingTransfer:
        if self.lost:
            self.lost -= 1
            return _Lost()
        return super().to_host(tensors)


class _Lost:
    def wait(self) -> Sequence[torch.Tensor]:
        raise RuntimeError("lost")


class OverlappedByHand(SteppedEngine):
    """Each turn begins as many batches as may be under way at a time, one after the other, and then lands them."""

    def __init__(self, toy: Toy, device: torch.device = CPU, **limits: Any) -> None:
        super().__init__(toy, device, **limits)
        self.transfer = Lagging()
        if device == CPU:
            self.runtime.transfer = self.transfer
        self.flight.min_rows = 1

    engine_class = OverlappedEngine

    @property
    def flight(self) -> InFlightBatches:
        """What is under way."""
        assert isinstance(self.engine, OverlappedEngine)
        return self.engine._in_flight

    def pump(self, steps: int = 1) -> None:
        for _ in range(steps):
            self.turn(3)
            self.engine.periodic_jobs.run(self.engine.clock.now())
            self.engine._answer()

    def turn(self, begins: int) -> None:
        """Begins so many batches, each as soon as there is room; in the end none is under way."""
        flight = self.flight
        for k in range(begins):
            self.engine.turn()
            if k % 2:
                self._land()
        self._land()
        while completed := flight.completed():
            self.engine._commit(completed)
            completed.clean_up()

    def _land(self) -> None:
        for _ in range(self.flight._ready.qsize()):
            self.flight.compute()
