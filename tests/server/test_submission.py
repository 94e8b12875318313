"""Which batches run on the event loop's thread."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from elman_server.frames import PackedFrame, Want
from elman_server.submission import Submission, is_quick


class Worker:
    """Whose plans take a microsecond for each session-step."""

    def __init__(self, *, is_asynchronous: bool = False) -> None:
        plans = SimpleNamespace(seconds=lambda rows, steps: 1e-6 * rows * steps)
        self.runtime = SimpleNamespace(
            transfer=SimpleNamespace(is_asynchronous=is_asynchronous), stack=SimpleNamespace(plans=plans)
        )


CPU: Any = Worker()
OTHER: Any = Worker()
CUDA: Any = Worker(is_asynchronous=True)


def asked(worker: Any, rows: int = 1, steps: int = 1, *, is_pipelined: bool = False) -> Submission:
    frame = PackedFrame(
        0, np.empty(0, np.uint64), np.full(rows, steps), None, np.zeros((rows * steps, 1)), Want.ALL, False,
        math.inf, Any, 0.0,
    )  # fmt: skip
    return Submission(worker, frame, is_pipelined)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([asked(CPU)], True),
        ([asked(CPU)] * 50, True),
        ([asked(CPU, rows=300)], True),
        ([asked(CPU, rows=400)], False),
        ([asked(CPU, steps=400)], False),
        ([asked(CPU, rows=40)] * 100, True),
        ([asked(CPU, rows=60)] * 100, False),
        ([asked(CPU), asked(CPU, is_pipelined=True)], False),
        ([asked(CPU), asked(OTHER)], False),
        ([asked(CUDA)], False),
        ([asked(CPU), lambda: None], False),
        ([], False),
    ],
)
def test_few_rows_and_many_messages_of_few_rows_are_quick(items: list[Any], expected: bool) -> None:
    assert is_quick(items) is expected
