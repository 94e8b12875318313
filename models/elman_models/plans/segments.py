"""A plan for ragged batches made of plans for equally long rows."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from elman_models.layout import step_offsets
from elman_models.packed import Packed
from elman_models.plans.plan import Plan
from elman_models.state import State


class SegmentsPlan:
    """Runs segment after segment: the steps between two changes of the set of rows."""

    def __init__(self, choose: Callable[[NDArray[np.int64]], Plan]) -> None:
        """`choose`: the plan for a batch of these sizes, all rows equally long."""
        self.name = "segments"
        self._choose = choose

    def run(self, input: Packed, state: State) -> tuple[torch.Tensor, State]:
        """See `Plan.run`."""
        outputs, finished = [], []
        for segment, next_rows in _segments(input):
            rows = segment.num_rows
            output, state = self._choose(segment.batch_sizes).run(segment, state)
            outputs.append(output)
            finished.append(_cut(state, next_rows, rows))
            state = _cut(state, 0, next_rows)
        return torch.cat(outputs), _join(finished[::-1])  # the rows that finish last stand first


def _segments(input: Packed) -> Iterator[tuple[Packed, int]]:
    """Each segment, and the rows that go on after it."""
    sizes = input.batch_sizes
    begins = np.flatnonzero(np.diff(sizes, prepend=-1))
    ends = [*begins[1:].tolist(), len(sizes)]
    offsets = [*step_offsets(sizes).tolist(), len(input.data)]
    for begin, end in zip(begins.tolist(), ends, strict=True):
        part = Packed(input.data[offsets[begin] : offsets[end]], sizes[begin:end])
        yield part, int(sizes[end]) if end < len(sizes) else 0


def _cut(state: State, begin: int, end: int) -> State:
    h = state.h[:, begin:end].contiguous()
    return State(h, None if state.c is None else state.c[:, begin:end].contiguous())


def _join(parts: list[State]) -> State:
    h = torch.cat([part.h for part in parts], 1)
    cells = [part.c for part in parts if part.c is not None]
    return State(h, torch.cat(cells, 1) if cells else None)
