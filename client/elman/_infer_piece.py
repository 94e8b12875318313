"""What one request of `infer` holds of the caller's sequences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from elman._infer_limits import InferLimits
from elman._shared.info import ModelInfo
from elman._shared.packed_layout import Index
from elman.wire import itemsize


@dataclass(frozen=True)
class Sizes:
    """Bytes of a request or its answer, whichever is larger."""

    step_bytes: int
    row_bytes: int

    @classmethod
    def of(cls, info: ModelInfo, returning: str) -> Sizes:
        """Of a model."""
        size = itemsize(info.output_wire_dtype)
        step_bytes = itemsize(info.input_wire_dtype) * math.prod(info.input_features)
        if returning == "all":
            step_bytes = max(step_bytes, size * info.output_size)
        state_size = info.state_size + (info.hidden_size if info.has_cell_state else 0)
        row_bytes = size * info.state_layers * state_size + (size * info.output_size if returning == "last" else 0)
        return cls(step_bytes, row_bytes)


@dataclass(frozen=True, eq=False)
class Piece:
    """Steps `begin` to `end` of some rows; of several rows always all their steps."""

    rows: Index  # [K] as the caller counts them, longest first
    lengths: Index  # [K] of the whole sequences, non-increasing
    begin: int
    end: int
    sizes: Sizes

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

    def cut(self, limits: InferLimits, may_cut_steps: bool) -> Iterator[Piece]:
        """Pieces within the limits, as far as they can be: by rows, and where one is too large by its steps."""
        if len(self.rows) == 1:
            yield from self._cut_steps(limits) if may_cut_steps else (self,)
            return
        row_bytes = self.lengths * self.sizes.step_bytes + self.sizes.row_bytes
        first = 0
        while first < len(self.rows):
            fitting = int(np.searchsorted(np.cumsum(row_bytes[first:]), limits.max_bytes, side="right"))
            last = first + max(1, min(fitting, limits.max_rows))
            piece = self._of_rows(slice(first, last))
            if last - first == 1:
                yield from piece.cut(limits, may_cut_steps)
            else:
                yield piece
            first = last

    def _of_rows(self, some: slice) -> Piece:
        lengths = self.lengths[some]
        return replace(self, rows=self.rows[some], lengths=lengths, end=int(lengths[0]))

    def _cut_steps(self, limits: InferLimits) -> Iterator[Piece]:
        size = max(1, (limits.max_bytes - self.sizes.row_bytes) // self.sizes.step_bytes)
        for begin in range(self.begin, self.end, size):
            yield replace(self, begin=begin, end=min(begin + size, self.end))
