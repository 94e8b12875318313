"""One `Infer` call: the parts of its rows put together."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_models.layout import batch_sizes, step_offsets, steps_and_rows
from elman_server.door.caller_limits import Charge
from elman_server.errors import ServiceError
from elman_server.exchange.answers import Answer
from elman_server.exchange.frames import Frame, Want
from elman_server.threads.mailbox import LoopCalls

Array = NDArray[Any]


class InferResult:
    """Outputs and final states of K whole sequences."""

    def __init__(self, frame: Frame) -> None:
        self._lengths, self._want = frame.lengths, frame.want
        rows = frame.num_rows
        self._offsets = step_offsets(batch_sizes(frame.lengths))  # [max(lengths)]
        self._record = frame.view.output.part(frame.outputs)
        count = {Want.ALL: int(frame.lengths.sum()), Want.LAST: rows, Want.NONE: 0}[frame.want]
        self.positions = np.zeros(rows, np.int64)
        """[K] of the sessions, where it is of some, after their rows."""
        self.output: Array | None = None
        """[sum(lengths), *features] packed, the record of the outputs that are wanted; for LAST [K, *features]; for
        NONE None."""
        self.states: tuple[Array, ...] = ()
        """[layers or 1, K, *features] of each of the model's, if asked for."""
        if count:
            self.output = np.empty((count, *self._record.features), self._record.dtype)
        if frame.want_state:
            self.states = tuple(np.empty(one.seam_shape(rows), one.dtype) for one in frame.view.states)

    def put(self, answer: Answer, num_rows: int) -> None:
        """Takes in a part."""
        rows = np.arange(num_rows) if answer.rows is None else answer.rows
        if self.output is not None and answer.output is not None:
            self.output[self._where(answer, rows)] = answer.output
        self.positions[answer.finished] = answer.positions
        for mine, part in zip(self.states, answer.states, strict=False):
            mine[:, answer.finished] = part

    def outputs(self) -> list[tuple[str, Array]]:
        """Each output that is wanted, by name: [sum(lengths), *features], or [K, *features] of the last steps and where
        it has no steps."""
        if self.output is None:
            return []
        given = []
        for field, array in zip(self._record.fields, self._record.tensors(self.output), strict=True):
            if field.per_row and self._want is Want.ALL:
                array = array[self._offsets[self._lengths - 1] + np.arange(len(self._lengths))]
            given.append((field.name, array))
        return given

    def _where(self, answer: Answer, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        if self._want is Want.LAST:
            return answer.finished
        steps, of = steps_and_rows(batch_sizes(answer.lengths))
        starts = np.zeros(len(rows), np.int64) if answer.starts is None else answer.starts
        where: NDArray[np.int64] = self._offsets[starts[of] + steps] + rows[of]
        return where


class InferCall:
    """Waits for the rows of one frame."""

    def __init__(
        self,
        future: "asyncio.Future[InferResult]",
        loop_calls: LoopCalls,
        finish: Callable[[InferResult], None] | None = None,
    ) -> None:
        """`future` gets the result, or the first error of a row; `finish` is called with the result before, on the
        engine's thread, and may fail the call with a ServiceError."""
        self._finish = finish
        self._loop_calls = loop_calls
        self._result: InferResult | None = None
        self._is_settled = False
        self.charge: Charge | None = None
        """What counts against its caller until its rows have ended, whether or not anybody waits for them still."""
        self._future = future

    def on_result(self, frame: Frame, answer: Answer) -> None:
        """Takes a part, on the engine's thread; the last one settles the future."""
        refused = answer.frame_error is not None  # nothing of it was admitted
        frame.open_rows -= frame.open_rows if refused else answer.num_ended
        if self.charge and not frame.open_rows:
            self.charge.release()
        error = answer.frame_error or (answer.errors[0][1] if answer.errors else None)
        if self._is_settled:
            return
        if error is not None:
            self._settle(error=error)
            return
        if self._result is None:
            self._result = InferResult(frame)
        self._result.put(answer, frame.num_rows)
        if not frame.open_rows:
            self._complete(self._result)

    def _complete(self, result: InferResult) -> None:
        try:
            if self._finish:
                self._finish(result)
        except ServiceError as error_of_finish:
            self._settle(error=error_of_finish)
        else:
            self._settle(result)

    def on_bug(self, frame: Frame, error: Exception) -> None:
        """Fails the call, and gives back what counts against its caller: who counts the rows may have met the bug."""
        if self.charge:
            self.charge.release()
        if not self._is_settled:
            self._settle(error=error)

    def _settle(self, result: InferResult | None = None, error: Exception | None = None) -> None:
        self._is_settled = True
        self._loop_calls.settle(self._future, result, error=error)
