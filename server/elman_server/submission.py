"""Submissions: frames in the engine's inbox, and whether they are better run where they were read."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from elman_server.frames import Frame
from elman_server.worker import Worker

MESSAGE_SECONDS = 50e-6
"""What the event loop spends on a message, about (bench/README.md)."""
HAND_OVER_SECONDS = 300e-6
"""What handing a batch to another thread and its results back takes on an idle machine, about."""
MAX_SECONDS = 5e-3
"""The event loop is not to stand still for longer, by what was measured at warm-up."""


class Submission(NamedTuple):
    """A frame, and whose it is."""

    worker: Worker
    frame: Frame
    is_pipelined: bool
    """Whether its stream was sent on before all that came earlier was answered."""


def is_quick(items: Sequence[Submission | Callable[[], None]]) -> bool:
    """Whether an inbox is computed in less time than reading it and answering it takes.

    The interpreter runs one thread at a time: another one gains no more than the time of the computation, and costs
    hand-overs. So few rows, and many messages of few rows, are served by the thread that reads them. But a stream is
    read one message at a time: of one that is sent on unanswered, more is read while another thread computes.
    """
    if not items or not isinstance(items[0], Submission):
        return False
    worker, rows, steps = items[0].worker, 0, 0
    for item in items:
        if not isinstance(item, Submission) or item.worker is not worker or item.is_pipelined:
            return False
        rows += item.frame.num_rows
        steps = max(steps, item.frame.longest)
    if worker.runtime.transfer.is_asynchronous:
        return False
    seconds = worker.runtime.stack.plans.seconds(rows, steps)
    return seconds <= min(HAND_OVER_SECONDS + len(items) * MESSAGE_SECONDS, MAX_SECONDS)
