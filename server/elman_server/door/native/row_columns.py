"""Columns of frames of one row, in compiled loops: which go together, what each is answered, what counts for whom."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman_server.tables.jit import jit

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
Flags = NDArray[np.bool_]

ALL_ROWS = np.empty(0, np.int64)
"""Stands for all rows, in their order."""


class Sent(NamedTuple):
    """What the door is to send: a row of an answer, an entry of each column."""

    calls: U64
    callers: I64
    frame_ids: U64
    starts: I64
    finished: Flags
    positions: I64
    num_bytes: I64
    """Of the row's tensors."""
    debts: I64
    """[m, 3] as `sums_by_caller`: the bytes that each caller has unread, less those that no longer wait."""


class Sizes(NamedTuple):
    """Bytes of an answer's parts."""

    step: int
    """Of a row's output at one step; 0: it has none."""
    state: int
    """Of a row's states; 0: it has none."""
    row: int
    """Of a row's input."""


@jit
def are_alike(models: I64, lengths: I64, return_output: I32, return_state: NDArray[np.uint8]) -> bool:
    """Whether all frames are of one model, length and answer."""
    for i in range(1, len(models)):
        is_like = models[i] == models[0] and lengths[i] == lengths[0]
        if not (is_like and return_output[i] == return_output[0] and return_state[i] == return_state[0]):
            return False
    return True


@jit
def are_well_formed(
    rows: I64, dtype: I32, num_dims: I32, dim_0: I64, dim_1: I64, num_bytes: I64, message_bytes: I64,
    wire_dtype: int, length: int, features: int, row_bytes: int, max_message_bytes: int,
) -> Flags:  # fmt: skip
    """[n] which of `rows` have a tensor of that type, [length] or, with `features`, [length, features], in a message
    that is not too large."""
    good = np.empty(len(rows), np.bool_)
    for i, r in enumerate(rows):
        is_shaped = num_dims[r] == (2 if features else 1) and dim_0[r] == length
        if features:
            is_shaped = is_shaped and dim_1[r] == features
        is_sized = num_bytes[r] == row_bytes and message_bytes[r] <= max_message_bytes
        good[i] = dtype[r] == wire_dtype and is_shaped and is_sized
    return good


@jit
def sums_by_caller(callers: I64, num_bytes: I64) -> I64:
    """[m, 3] each caller once, with how many entries are its own, and their sum."""
    order = np.arange(len(callers)) if (callers == callers[0]).all() else np.argsort(callers, kind="mergesort")
    sums, count = np.zeros((len(callers), 3), np.int64), 0
    for i in order:
        if not count or sums[count - 1, 0] != callers[i]:
            sums[count, 0] = callers[i]
            count += 1
        sums[count - 1, 1] += 1
        sums[count - 1, 2] += num_bytes[i]
    return sums[:count]


def sent_of(
    rows: I64 | None, starts: I64 | None, lengths: I64, ended: I64, positions: I64,
    calls: U64, callers: I64, frame_ids: U64, sizes: Sizes, *, is_last: bool,
) -> Sent:  # fmt: skip
    """An answer's rows (as in `Answer`) as the door takes them; `calls`, `callers`, `frame_ids`: of the frame's."""
    whole = ALL_ROWS if rows is None else rows
    begins = np.zeros(len(lengths), np.int64) if starts is None else starts
    ids, numbers, finished, debts = _sent(whole, lengths, ended, positions, calls, callers, frame_ids, *sizes, is_last)
    return Sent(ids[0], numbers[0], ids[1], begins, finished, numbers[1], numbers[2], debts)


@jit
def _sent(
    rows: I64, lengths: I64, ended: I64, positions: I64,
    calls: U64, callers: I64, frame_ids: U64,
    step_bytes: int, state_bytes: int, row_bytes: int, is_last: bool,
) -> Any:  # fmt: skip
    count, f = len(lengths), 0
    ids, finished = np.empty((2, count), np.uint64), np.empty(count, np.bool_)  # calls and frame ids
    numbers, debts = np.zeros((3, count), np.int64), np.empty(count, np.int64)  # callers, positions, bytes
    for i in range(count):
        row = rows[i] if len(rows) else i
        ids[0, i], ids[1, i], numbers[0, i] = calls[row], frame_ids[row], callers[row]
        finished[i] = f < len(ended) and ended[f] == row  # they stand in the rows' order
        num_bytes = step_bytes * ((1 if finished[i] else 0) if is_last else lengths[i])
        if finished[i]:
            numbers[1, i] = positions[f]
            f += 1
            num_bytes += state_bytes
        numbers[2, i] = num_bytes
        debts[i] = num_bytes - (row_bytes if finished[i] else 0)
    return ids, numbers, finished, sums_by_caller(numbers[0], debts)


def warm_up_columns() -> None:
    """Has it all compiled, so that no caller waits for that."""
    numbers, ids = np.zeros(1, np.int64), np.zeros(1, np.uint64)
    small = np.zeros(1, np.int32)
    are_alike(numbers, numbers, small, np.zeros(1, np.uint8))
    are_well_formed(numbers, small, small, numbers, numbers, numbers, numbers, 0, 1, 1, 1, 1)
    sizes = Sizes(1, 1, 1)
    sent_of(None, None, numbers, numbers, numbers, ids, numbers, ids, sizes, is_last=True)
