"""One session's step: an array becomes chunks, their answers become the caller's output."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np

from elman._shared.arrays import ArrayLike, to_sequence
from elman._shared.deadline import Deadline
from elman._shared.info import ModelInfo
from elman._shared.records import in_callers_form, no_steps
from elman._shared.results import State, StepResult
from elman._stepping.answers import Answer, FutureT
from elman._stepping.chunks import Chunk
from elman._stepping.options import FrameKey, ModelOptions, StepTerms, part_steps
from elman.v1 import tensor_pb2
from elman.wire import Array


@dataclass(slots=True)
class PendingStep(Generic[FutureT]):
    """Chunks to submit, in order, and the futures to wait for before `result`."""

    chunks: list[Chunk]
    futures: list[FutureT]
    info: ModelInfo
    options: ModelOptions
    deadline: Deadline
    is_single: bool  # given without the T axis, so answered without it

    def result(self) -> Any:
        """The output, or with `state` the output and the state. Raises what the first failed chunk did."""
        answers = [future.result() for future in self.futures]
        for answer in answers:
            if answer.errors:
                raise copy.copy(answer.errors[0])
        output = self._joined(answers)
        form = None if output is None else in_callers_form(output, self.info, self.options.outputs)
        if not self.options.state:
            return form
        last = self.chunks[-1]
        return StepResult(form, State.of(self.info, answers[-1].states, last.begin + last.length))

    def _joined(self, answers: list[Answer]) -> Array | None:
        if self.options.every is not None:
            outputs = [answer.output for answer in answers if answer.output is not None]
            return np.stack(outputs) if outputs else no_steps(self.info, self.options.outputs)
        if self.options.returning != "all":
            return answers[-1].output
        outputs = [answer.output for answer in answers if answer.output is not None]
        output = outputs[0] if len(outputs) == 1 else np.concatenate(outputs)
        return output[0] if self.is_single else output


def begin_step(
    x: ArrayLike,
    info: ModelInfo,
    session: int,
    terms: StepTerms,
    make_future: Callable[[], FutureT],
) -> PendingStep[FutureT]:
    """Checks, casts and cuts `x` [T, *features] into chunks of at most `terms.max_steps`. Raises InvalidInputError."""
    values, is_single = to_sequence(x, info, None)
    options, key, size = terms
    if options.progress:
        size = min(size, part_steps(len(values)))
    deadline = Deadline.after(options.timeout_seconds)
    if len(values) <= size and options.every is None:
        future = make_future()
        return PendingStep(
            [Chunk(key, session, values, future, deadline)], [future], info, options, deadline, is_single
        )
    ends = _ends(len(values), size, options.every)
    futures = [make_future() for _ in ends]
    keys = [_key_of(key, end, len(values), options.every) for end in ends]
    parts = zip(keys, [0, *ends], ends, futures, strict=False)
    chunks = [Chunk(one, session, values[first:end], future, deadline) for one, first, end, future in parts]
    return PendingStep(chunks, futures, info, options, deadline, is_single)


def _ends(steps: int, size: int, every: int | None) -> list[int]:
    """Where the parts end: each is of at most `size` steps, and ends where an output is wanted."""
    ends: list[int] = []
    for first in range(0, steps, every or steps):
        end = min(steps, first + (every or steps))
        ends += [*range(first + size, end, size), end]
    return ends


def _key_of(last: FrameKey, end: int, steps: int, every: int | None) -> FrameKey:
    """For a part: nothing of those before the last one is needed, unless all outputs are, or that of its end."""
    if every is not None:
        returning = last.returning if end % every == 0 else tensor_pb2.RETURN_NONE
    else:
        is_needed = end == steps or last.returning == tensor_pb2.RETURN_ALL
        returning = last.returning if is_needed else tensor_pb2.RETURN_NONE
    return last._replace(returning=returning, return_state=last.return_state and end == steps)
