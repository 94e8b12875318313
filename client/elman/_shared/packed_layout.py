"""The packed layout of the contract: step 0 of all rows, then step 1 of the rows that have one, and so on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.wire import Array

Index = npt.NDArray[np.intp]


def order_of(lengths: Index) -> Index | None:
    """The stable order that makes `lengths` [K] non-increasing; None if they are."""
    if len(lengths) < 2 or bool((lengths[:-1] >= lengths[1:]).all()):
        return None
    return np.argsort(-lengths, kind="stable")


def step_offsets(lengths: Index) -> Index:
    """[seq_len] where each step begins in the packed layout of `lengths` [K], non-increasing."""
    steps = np.arange(int(lengths[0]))
    alive = len(lengths) - np.searchsorted(lengths[::-1], steps, side="right")
    return np.concatenate(([0], np.cumsum(alive[:-1]))).astype(np.intp)


def enumerate_packed(lengths: Index) -> tuple[Index, Index]:
    """(step, row) of every element of the packed layout of `lengths` [K]."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    steps = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    order = np.argsort(steps, kind="stable")
    return steps[order], rows[order]


def pack(sequences: Sequence[Array], lengths: Index) -> Array:
    """Sequences [T_k, *features], by non-increasing length, as one packed array [sum(T), *features]."""
    if lengths[0] == lengths[-1]:
        if lengths[0] == 1:
            return np.concatenate(sequences)
        stacked: Array = np.stack(sequences, axis=1)
        return stacked.reshape(-1, *stacked.shape[2:])
    steps, rows = enumerate_packed(lengths)
    starts = np.cumsum(lengths) - lengths
    joined: Array = np.concatenate(sequences)
    return take_steps(joined, starts[rows] + steps)


def unpack(packed: Array, lengths: Index) -> list[Array]:
    """The inverse of `pack`: a list of [T_k, *features], each with memory of its own."""
    offsets = step_offsets(lengths)
    return [take_steps(packed, row_index(offsets, row, int(length))) for row, length in enumerate(lengths)]


def take_steps(packed: Array, steps: Index) -> Array:
    """Those elements of the first axis, in memory of their own."""
    taken: Array = packed[steps]
    return taken


def row_index(offsets: Index, row: int, length: int) -> Index:
    """Where the `length` steps of one row are in the packed layout."""
    return offsets[:length] + row


def undo(order: Index | None, values: list[Any]) -> list[Any]:
    """`values` in the order in which they were before `order` was applied."""
    if order is None:
        return values
    result = list(values)
    for value, place in zip(values, order.tolist(), strict=True):
        result[place] = value
    return result
