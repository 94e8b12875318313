"""A batch's result: its outputs, from which each frame's rows are selected."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_models.layout import batch_sizes, step_offsets, steps_and_rows
from elman_server.exchange.answers import Answer
from elman_server.exchange.frames import Frame, Want
from elman_server.exchange.model_view import ModelView
from elman_server.tables.jit import jit

I64 = NDArray[np.int64]
Array = NDArray[Any]

LINE = 64
"""Bytes of a cache line, where the arrays of a result that is held begin."""
BYTES_A_ROW, BYTES_A_RESULT = LINE, 16 * LINE
"""What columns take, about."""


@dataclass(slots=True)
class BatchResult:
    """One batch's results; row i is its i-th row, longest part first."""

    starts: I64  # [B] steps of the chunk done before
    takes: I64  # [B] steps in this batch, non-increasing
    offsets: I64  # [max(takes)] where step t begins in `output`
    finished: NDArray[np.bool_]  # [B] whether the chunk is complete
    positions: I64  # [B] the session's position after the chunk's steps so far
    output: Array | None  # [sum(takes), *features], the record of `outputs`; None where nobody wants any
    states: tuple[Array, ...]  # [layers or 1, B, *features] each; none where nobody wants them
    previous_result: I64  # [B] number of the result with the chunk's slice before, or -1
    previous_row: I64  # [B] its row there
    is_last: bool = False
    """Whether `output` [B, *features] has the last step of each row alone."""
    outputs: int = 1
    """Which of the model's outputs it has, as bits."""
    rows: I64 | None = None  # [B] which rows of the batch these are, ascending; None: all of them

    @property
    def tensors(self) -> list[Array]:
        """All that it has."""
        return [*self.states] if self.output is None else [self.output, *self.states]

    @property
    def num_bytes(self) -> int:
        """Bytes that holding this result takes, in whole lines; its columns included."""
        tensors = sum([array.nbytes + -array.nbytes % LINE for array in self.tensors])
        return tensors + BYTES_A_ROW * len(self.takes) + BYTES_A_RESULT

    @staticmethod
    def overhead(num_rows: int) -> int:
        """Bytes that the columns of so many rows take."""
        return BYTES_A_ROW * num_rows + BYTES_A_RESULT

    def bytes_asked_for(self, wants: I64, want_states: NDArray[np.bool_]) -> I64:
        """[B] bytes of the tensors that the rows, with these wants, have asked for."""
        output = 0 if self.output is None else self.output[0].nbytes
        states = [array[:, 0].nbytes for array in self.states]
        outputs = np.where(wants == Want.ALL, self.takes, wants == Want.LAST)
        num_bytes: I64 = outputs * output + want_states * sum(states)
        return num_bytes

    def part(self, rows: I64, want: Want, with_state: bool) -> "BatchResult":
        """Some rows of it [n], ascending, all of which ask for that much or less."""
        takes = self.takes[rows]
        output = self._output(rows, rows, want)
        return BatchResult(
            starts=self.starts[rows],
            takes=takes,
            offsets=step_offsets(batch_sizes(takes)),
            finished=self.finished[rows],
            positions=self.positions[rows],
            output=output,
            states=self._states(rows) if with_state else (),
            previous_result=self.previous_result[rows],
            previous_row=self.previous_row[rows],
            is_last=want is Want.LAST,
            outputs=self.outputs,
            rows=rows,
        )

    def index_of(self, row: int) -> int | None:
        """Where a row of the batch stands here, if it does."""
        if self.rows is None:
            return row
        index = int(np.searchsorted(self.rows, row))
        return index if index < len(self.rows) and self.rows[index] == row else None

    def last_output(self, row: int, outputs: int, view: ModelView) -> Array | None:
        """[*features] what row `row` gave at its last step here, the record of `outputs`; None unless all of them are
        here."""
        only = np.array([row])
        output = self._output(only, only, Want.LAST)
        if output is None or outputs & ~self.outputs:
            return None
        chosen = output if outputs == self.outputs else view.output.part(outputs).chosen(output)
        last: Array = chosen[0].copy()
        return last

    def cut(self, mine: I64, rows: I64, frame: Frame) -> Answer:
        """The part of a frame: rows `mine` [n] of the result, ascending, which are `rows` of it."""
        (starts, takes), (ended, ended_rows, positions), is_whole, begin = _cut(
            mine, rows, self.starts, self.takes, self.finished, self.positions, len(frame.lengths)
        )
        output = self._output(mine, ended, frame.want)
        return Answer(
            rows=None if is_whole else rows,
            starts=None if begin else starts,
            lengths=takes,
            output=output if frame.outputs == self.outputs else self._chosen(output, frame),
            finished=ended_rows,
            positions=positions,
            states=self._states(ended) if frame.want_state else (),
        )

    def _chosen(self, output: Array | None, frame: Frame) -> Array | None:
        # Of the outputs that somebody in the batch wants, the frame's.
        return None if output is None else frame.view.output.part(frame.outputs).chosen(output)

    def _states(self, rows: I64) -> tuple[Array, ...]:
        return tuple([array[:, rows] for array in self.states])

    def _output(self, mine: I64, ended: I64, want: Want) -> Array | None:
        if self.output is None or want is Want.NONE:
            return None
        if self.is_last:
            return _take(self.output, ended)
        if want is Want.LAST:
            return _take(self.output, self.offsets[self.takes[ended] - 1] + ended)
        if len(mine) == len(self.takes):
            return self.output
        if self.takes[mine[0]] == 1:
            first, last = int(mine[0]), int(mine[-1])
            return _part(self.output, first, last + 1) if last - first == len(mine) - 1 else self.output[mine]
        steps, rows = steps_and_rows(batch_sizes(self.takes[mine]))
        return _take(self.output, self.offsets[steps] + mine[rows])


@jit
def _cut(
    mine: I64, rows: I64, starts: I64, takes: I64, finished: NDArray[np.bool_], positions: I64, num_rows: int
) -> tuple[I64, I64, bool, bool]:
    """Of the rows `mine` of a result: where they start and how many steps they have; which of them are complete, which
    rows of the frame these are and their positions; whether they are all of the frame, and whether all start at 0."""
    count = len(mine)
    parts, ended = np.empty((2, count), np.int64), np.empty((3, count), np.int64)
    num_ended, is_whole, begin = 0, count == num_rows, True
    for i, row in enumerate(mine):
        parts[0, i], parts[1, i] = starts[row], takes[row]
        is_whole = is_whole and rows[i] == i
        begin = begin and starts[row] == 0
        if finished[row]:
            ended[0, num_ended], ended[1, num_ended], ended[2, num_ended] = row, rows[i], positions[row]
            num_ended += 1
    return parts, ended[:, :num_ended], is_whole, begin


def _part(array: Array, first: int, end: int) -> Array:
    # A view keeps the whole result's memory for as long as it is unread, which a small part is not to do.
    part = array[first:end]
    return part if 2 * len(part) >= len(array) else part.copy()


def _take(array: Array, index: I64) -> Array:
    picked: Array = array[index]
    return picked
