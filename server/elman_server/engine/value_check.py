"""Which of the numbers that came may be run: ids in range, and, where the server is set so, finite ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_models.layout import batch_sizes, steps_and_rows
from elman_server.exchange.frames import Frame
from elman_server.exchange.model_view import ModelView, TensorField

I64 = NDArray[np.int64]
Flags = NDArray[np.bool_]
Array = NDArray[Any]

_GOOD = np.ones(1, np.bool_)


class ValueCheck:
    """Of one model's input."""

    def __init__(self, view: ModelView, *, refuse_non_finite: bool) -> None:
        self._record = view.input
        self._refuse_non_finite = refuse_non_finite
        self._checked = [one for one in view.input.fields if one.num_embeddings or refuse_non_finite]

    def all_good(self, data: Array) -> bool:
        """Whether all of `data`, [N, *features] of the input record, may be run."""
        return all(self._good(one, data if self._record.is_plain else data[one.name]).all() for one in self._checked)

    def bad_rows(self, frame: Frame) -> I64:
        """The rows of a frame that have a number that must not be run."""
        _, rows = steps_and_rows(batch_sizes(frame.lengths))
        bad = np.zeros(len(rows), np.bool_)
        for one in self._record.fields:
            good = self._good(one, self._tensor(one, frame.data))
            if good is not _GOOD:
                bad |= ~good.reshape(len(rows), -1).all(axis=1)
        return np.unique(rows[bad])

    def reason(self, frame: Frame, row: int, told: int) -> str:
        """What is wrong with a bad row; `told`: its number for whoever is told."""
        _, rows = steps_and_rows(batch_sizes(frame.lengths))
        mine = rows == row
        for one in self._record.fields:
            if not self._good(one, self._tensor(one, frame.data)[mine]).all():
                break
        where = f"row {told}" if self._record.is_plain else f"row {told}, input {one.name!r}"
        if one.num_embeddings:
            return f"{where}: token ids are in [0, {one.num_embeddings}), and one that came is not"
        return f"{where}: a value is NaN or infinite, and refuse_non_finite is set"

    def _tensor(self, one: TensorField, data: Array) -> Array:
        tensor: Array = data if self._record.is_plain else data[one.name]
        return tensor

    def _good(self, one: TensorField, data: Array) -> Flags:
        if one.num_embeddings:
            return np.asarray((data >= 0) & (data < one.num_embeddings))
        if not self._refuse_non_finite:
            return _GOOD
        return np.isfinite(data)
