"""What becomes of frames of one row that the native door has merged: each one's own part of an answer."""

from collections.abc import Iterator

import numpy as np

from elman_models.layout import batch_sizes, step_offsets
from elman_server.door.native.merged_frames import MergedFrame
from elman_server.exchange.answers import Answer, failure, refusal
from elman_server.exchange.frames import Want


def parts_of(frame: MergedFrame, answer: Answer) -> Iterator[tuple[int, Answer]]:
    """The rows that an answer is about, and the answer to each as if it were a frame of its own."""
    if answer.frame_error is not None:
        for row in np.flatnonzero(frame.columns.is_open).tolist():
            yield row, refusal(answer.frame_error)
    for row, error in answer.errors:
        yield row, failure(((0, error),))
    rows = np.arange(frame.num_rows) if answer.rows is None else answer.rows
    for i in range(len(answer.lengths)):
        yield int(rows[i]), _part(frame, answer, i, answer.finished.tolist().count(int(rows[i])) > 0)


def _part(frame: MergedFrame, answer: Answer, i: int, is_finished: bool) -> Answer:
    rows = np.arange(frame.num_rows) if answer.rows is None else answer.rows
    at = answer.finished.tolist().index(int(rows[i])) if is_finished else 0
    mine = slice(at, at + 1) if is_finished else slice(0, 0)
    output = answer.output
    if output is not None:
        steps = step_offsets(batch_sizes(answer.lengths))[: answer.lengths[i]] + i
        output = output[mine] if frame.want is Want.LAST else output[steps]
    return Answer(
        rows=None,
        starts=None if answer.starts is None else answer.starts[i : i + 1],
        lengths=answer.lengths[i : i + 1],
        output=output,
        finished=np.zeros(int(is_finished), np.int64),
        positions=answer.positions[mine],
        states=tuple(state[:, mine] for state in answer.states),
    )
