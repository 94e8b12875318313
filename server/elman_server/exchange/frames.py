"""Frames and what is asked of them: the domain's request, from the door to the engine and back."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from elman_server.exchange.answers import Answer
from elman_server.exchange.model_view import ModelView
from elman_server.exchange.want import Want as Want

Array = NDArray[Any]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]


class ResultSink(Protocol):
    """Who waits for a frame's answers. Called on the engine's thread only."""

    def on_result(self, frame: "Frame", answer: Answer) -> None:
        """Takes one answer: at most one per frame and engine step, and one before for rows that are refused as they
        arrive; each row ends exactly once."""
        ...

    def on_bug(self, frame: "Frame", error: Exception) -> None:
        """`on_result` raised that: ends the frame's caller with it, who would wait for ever."""
        ...


class FramePart(NamedTuple):
    """Some rows of a frame."""

    frame: "Frame"
    rows: I64 | None = None
    """[n]; None: all."""


@dataclass(slots=True, eq=False)
class Frame:
    """Chunks of K sessions of one model version, in the packed layout. Checked by the door, not by its sessions."""

    frame_id: int
    """The caller's number, told back."""
    handles: U64
    """[K], distinct unless it is merged; empty for a frame of `Infer`, whose rows borrow slots."""
    lengths: I64
    """[K], non-increasing, at least 1."""
    positions: I64 | None
    """[K] where each chunk begins, or -1: where its session is; None: all so."""
    view: ModelView
    """Of its model."""
    data: Array
    """[sum(lengths), *features], the model's `input` record."""
    want: Want
    want_state: bool
    deadline: float
    """Seconds on the engine's clock; infinity for none."""
    sink: "ResultSink"
    """Who waits for the answers."""
    arrived: float
    """Seconds on the engine's clock."""
    outputs: int = 1
    """Which of the model's outputs are wanted, as bits."""
    open_rows: int = 0
    """Rows not ended yet; counted by the asker, on the engine's thread."""
    model: int = -1
    """The number of its model version; set when it is taken in."""
    slots: I64 | None = None
    """[K] the slots of its rows' sessions, -1 where there is none; set when it is taken in."""

    @property
    def owners(self) -> U64 | None:
        """[K] a number for whom each row is answered to; None: all to one."""
        return None

    @property
    def deadlines(self) -> F64:
        """[K] each row's deadline."""
        return np.full(self.num_rows, self.deadline)

    @property
    def num_rows(self) -> int:
        """K."""
        return len(self.lengths)

    @property
    def num_steps(self) -> int:
        """Session-steps: sum(lengths)."""
        return len(self.data)

    @property
    def num_bytes(self) -> int:
        """Of the data."""
        return self.data.nbytes

    @property
    def longest(self) -> int:
        """Steps of the longest row."""
        return int(self.lengths[0])
