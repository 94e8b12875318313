"""How the caller's sequences are cut into requests of `infer`: parts, and how large they may be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from elman._shared.errors import LimitReachedError
from elman._shared.info import ModelInfo
from elman._shared.packed_layout import Index
from elman._shared.records import wanted_outputs
from elman._stepping.options import ModelOptions


@dataclass(frozen=True)
class PartSizes:
    """Bytes of a request or its answer, whichever is larger."""

    step_bytes: int
    row_bytes: int

    @classmethod
    def of(cls, info: ModelInfo, options: ModelOptions) -> PartSizes:
        """Of a model."""
        outputs = wanted_outputs(info, options.outputs)
        told = {"all": [one for one in outputs if not one.per_row], "last": [], "none": []}[options.returning]
        at_end = [] if options.returning == "none" else [one for one in outputs if one not in told]
        step_bytes = max(sum(one.num_bytes for one in info.inputs), sum(one.num_bytes for one in told))
        row_bytes = sum(one.num_bytes for one in (*info.states, *at_end))
        return cls(max(1, step_bytes), row_bytes)


@dataclass(frozen=True, eq=False)
class InferPart:
    """Steps `begin` to `end` of some rows; of several rows always all their steps."""

    rows: Index  # [K] as the caller counts them, longest first
    lengths: Index  # [K] of the whole sequences, non-increasing
    begin: int
    end: int
    sizes: PartSizes

    @property
    def num_steps(self) -> int:
        """Of all rows."""
        return self.end - self.begin if len(self.rows) == 1 else int(self.lengths.sum())

    @property
    def num_bytes(self) -> int:
        """Of the data, on the larger of both ways."""
        return self.num_steps * self.sizes.step_bytes + len(self.rows) * self.sizes.row_bytes

    @property
    def is_last(self) -> bool:
        """Whether it holds its rows' last steps."""
        return self.end == int(self.lengths[0])

    def cut(self, limits: InferLimits, may_cut_steps: bool) -> Iterator[InferPart]:
        """Pieces within the limits, as far as they can be: by rows, and where one is too large by its steps."""
        if len(self.rows) == 1:
            yield from self._cut_steps(limits) if may_cut_steps else (self,)
            return
        row_bytes = self.lengths * self.sizes.step_bytes + self.sizes.row_bytes
        first = 0
        while first < len(self.rows):
            fitting = int(np.searchsorted(np.cumsum(row_bytes[first:]), limits.max_bytes, side="right"))
            last = first + max(1, min(fitting, limits.max_rows))
            part = self._of_rows(slice(first, last))
            if last - first == 1:
                yield from part.cut(limits, may_cut_steps)
            else:
                yield part
            first = last

    def _of_rows(self, some: slice) -> InferPart:
        lengths = self.lengths[some]
        return replace(self, rows=self.rows[some], lengths=lengths, end=int(lengths[0]))

    def _cut_steps(self, limits: InferLimits) -> Iterator[InferPart]:
        size = max(1, (limits.max_bytes - self.sizes.row_bytes) // self.sizes.step_bytes)
        for begin in range(self.begin, self.end, size):
            yield replace(self, begin=begin, end=min(begin + size, self.end))


_MAX_ROWS: Final = 1024
"""What a server takes unless it is set otherwise (`max_infer_rows`)."""
_ROW_LIMITS: Final = ("max_infer_rows", "max_queue_rows")


class InferLimits:
    """Rows and bytes of a request or its answer; of one model, for as long as the client has it."""

    def __init__(self, max_bytes: int) -> None:
        self.max_rows = _MAX_ROWS
        self.max_bytes = max_bytes

    def within(self, max_bytes: int) -> InferLimits:
        """These, and at most so many bytes."""
        limits = InferLimits(min(self.max_bytes, max_bytes))
        limits.max_rows = self.max_rows
        return limits

    def lower(self, error: LimitReachedError, num_rows: int, num_bytes: int) -> None:
        """A request of so many rows and bytes was too large: learns from what the server said, else halves it."""
        told = error.details.metadata.get("value", "")
        limit = int(told) if told.isdecimal() else 0
        if error.limit in _ROW_LIMITS:
            self.max_rows = max(1, min(limit or num_rows // 2, num_rows - 1))
        else:
            room = limit - limit // 16  # the rest is for what is not data
            self.max_bytes = max(1, room if 0 < room < num_bytes else num_bytes // 2)
