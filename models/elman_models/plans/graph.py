"""The plan that replays CUDA graphs: one launch instead of one per kernel, for small shapes that come again."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from elman_models.packed import Packed
from elman_models.plans.plan import Plan
from elman_models.state import State

Result = tuple[torch.Tensor, State]


class Capture(Protocol):
    """Records work so that it can be replayed."""

    def __call__(self, work: Callable[[], Result]) -> tuple[Callable[[], None], Result]:
        """Returns what replays `work` on the same memory, and the tensors that a replay writes.

        Raises:
            RuntimeError: the work cannot be captured.
        """
        ...


@dataclass(frozen=True)
class _Recording:
    input: Packed
    state: State
    replay: Callable[[], None]
    result: Result


class GraphPlan:
    """Captures `inner` for a shape that comes again; whatever cannot be captured runs by `inner` as before."""

    def __init__(
        self, name: str, inner: Plan, capture: Capture, *, max_graphs: int = 64, max_row_steps: int = 1024
    ) -> None:
        """Prepares; nothing is captured yet.

        Args:
            name: of the plan.
            inner: what is captured.
            capture: how.
            max_graphs: kept, the latest used.
            max_row_steps: rows x steps above which launching is not what takes the time.
        """
        self.name = name
        self._inner = inner
        self._capture = capture
        self._max_graphs = max_graphs
        self._max_row_steps = max_row_steps
        self._recordings: OrderedDict[tuple[int, int], _Recording | None] = OrderedDict()  # None: cannot be captured
        self._seen: set[tuple[int, int]] = set()

    def run(self, input: Packed, state: State) -> Result:
        """See `Plan.run`."""
        recording = self._recording(input, state)
        if recording is None:
            return self._inner.run(input, state)
        _copy(input, state, recording)
        recording.replay()
        output, after = recording.result
        return output.clone(), _clone(after)  # the next replay writes to the same memory

    def _recording(self, input: Packed, state: State) -> _Recording | None:
        shape = (input.num_rows, input.seq_len)
        if input.is_ragged or shape[0] * shape[1] > self._max_row_steps:
            return None
        if shape in self._recordings:
            self._recordings.move_to_end(shape)
            return self._recordings[shape]
        if shape not in self._seen:  # captured when it comes again
            self._seen.add(shape)
            return None
        self._recordings[shape] = self._record(input, state)
        if len(self._recordings) > self._max_graphs:
            dropped, _ = self._recordings.popitem(last=False)
            self._seen.discard(dropped)
        return self._recordings[shape]

    def _record(self, input: Packed, state: State) -> _Recording | None:
        own_input, own_state = input._replace(data=input.data.clone()), _clone(state)
        try:
            replay, result = self._capture(lambda: self._inner.run(own_input, own_state))
        except RuntimeError:  # cuDNN chose a cooperative kernel for this shape
            return None
        return _Recording(own_input, own_state, replay, result)


class CudaCapture:
    """Captures on a side stream, as torch.cuda.CUDAGraph asks, after runs that let cuDNN choose and allocate."""

    def __init__(self, device: torch.device, num_warm_runs: int = 3) -> None:
        self._device = device
        self._num_warm_runs = num_warm_runs

    def __call__(self, work: Callable[[], Result]) -> tuple[Callable[[], None], Result]:
        """See `Capture`."""
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(self._num_warm_runs):
                work()
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            result = work()
        return graph.replay, result


def _copy(input: Packed, state: State, to: _Recording) -> None:
    to.input.data.copy_(input.data)
    to.state.h.copy_(state.h)
    if to.state.c is not None and state.c is not None:
        to.state.c.copy_(state.c)


def _clone(state: State) -> State:
    return State(state.h.clone(), None if state.c is None else state.c.clone())
