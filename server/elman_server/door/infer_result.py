"""One `Infer` call: the parts of its rows put together."""

import asyncio

import numpy as np
from numpy.typing import NDArray

from elman_models.layout import batch_sizes, step_offsets, steps_and_rows
from elman_models.spec import ModelSpec
from elman_server.door.caller_limits import Charge
from elman_server.exchange.answers import Answer
from elman_server.exchange.frames import Frame, Want
from elman_server.exchange.mailbox import LoopCalls

F32 = NDArray[np.float32]


class InferResult:
    """Outputs and final states of K whole sequences."""

    def __init__(self, frame_lengths: NDArray[np.int64], want: Want, want_state: bool, spec: ModelSpec) -> None:
        rows = len(frame_lengths)
        self._offsets = step_offsets(batch_sizes(frame_lengths))  # [max(lengths)]
        outputs = {Want.ALL: int(frame_lengths.sum()), Want.LAST: rows, Want.NONE: 0}[want]
        self._want = want
        self.output: F32 | None = None
        """[sum(lengths), output_size] packed; for LAST [K, output_size]; for NONE None."""
        self.h_n: F32 | None = None
        """[state_layers, K, state_size], if asked for."""
        self.c_n: F32 | None = None
        """[state_layers, K, hidden_size], if asked for."""
        if outputs:
            self.output = np.empty((outputs, spec.output_size), np.float32)
        if want_state:
            self.h_n = np.empty((spec.state_layers, rows, spec.state_size), np.float32)
        if want_state and spec.has_cell_state:
            self.c_n = np.empty((spec.state_layers, rows, spec.hidden_size), np.float32)

    def put(self, answer: Answer, num_rows: int) -> None:
        """Takes in a part."""
        rows = np.arange(num_rows) if answer.rows is None else answer.rows
        if self.output is not None and answer.output is not None:
            self.output[self._where(answer, rows)] = answer.output
        if self.h_n is not None and answer.h_n is not None:
            self.h_n[:, answer.finished] = answer.h_n
        if self.c_n is not None and answer.c_n is not None:
            self.c_n[:, answer.finished] = answer.c_n

    def _where(self, answer: Answer, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        if self._want is Want.LAST:
            return answer.finished
        steps, of = steps_and_rows(batch_sizes(answer.lengths))
        starts = np.zeros(len(rows), np.int64) if answer.starts is None else answer.starts
        where: NDArray[np.int64] = self._offsets[starts[of] + steps] + rows[of]
        return where


class InferCall:
    """Waits for the rows of one frame."""

    def __init__(self, spec: ModelSpec, future: "asyncio.Future[InferResult]", loop_calls: LoopCalls) -> None:
        """`future` gets the result, or the first error of a row."""
        self._spec = spec
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
            self._result = InferResult(frame.lengths, frame.want, frame.want_state, self._spec)
        self._result.put(answer, frame.num_rows)
        if not frame.open_rows:
            self._settle(self._result)

    def _settle(self, result: InferResult | None = None, error: Exception | None = None) -> None:
        self._is_settled = True
        self._loop_calls.settle(self._future, result, error=error)
