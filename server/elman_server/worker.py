"""A worker: one runtime with those who admit to it and commit from it."""

import math

from elman_server.admission import Admission
from elman_server.commit import Commit
from elman_server.delivery import Delivery
from elman_server.frames import Frame
from elman_server.runtime import Runtime

QUICK_STEPS = 4
QUICK_SECONDS = 0.5e-3
"""The event loop may stand still for as long."""


class Worker:
    """Used by the engine's thread alone, but for `is_quick`; others only pass it on."""

    def __init__(self, runtime: Runtime, delivery: Delivery) -> None:
        self.runtime = runtime
        self.admission = Admission(runtime, delivery)
        self.commit = Commit(runtime, delivery)
        self.step_seconds = math.inf
        """Of the latest launch, by the longest of its rows' steps."""

    def is_quick(self, frame: Frame) -> bool:
        """Whether a frame is run in less time than it takes to hand it over, if it is alone."""
        return len(frame.data) <= QUICK_STEPS and len(frame.data) * self.step_seconds <= QUICK_SECONDS
