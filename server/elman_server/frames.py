"""Frames and what is asked of them: the domain's request, from the door to the engine and back."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from elman_server.answers import Answer

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]


class Want(IntEnum):
    """Which steps' outputs travel back."""

    ALL = 1
    LAST = 2
    NONE = 3


class Asker(Protocol):
    """Who waits for a frame's answers. Called on the event loop's thread only."""

    def deliver(self, frame: "Frame", answer: Answer) -> None:
        """Takes one answer: at most one per frame and engine step; each row ends exactly once."""
        ...


@dataclass(slots=True, eq=False)
class Frame:
    """Chunks of K sessions of one model version, in the packed layout. Checked by the door, not by its sessions."""

    frame_id: int
    """The caller's number, told back."""
    handles: U64
    """[K], distinct; empty for a frame of `Infer`, whose rows borrow slots."""
    lengths: I64
    """[K], non-increasing, at least 1."""
    positions: I64 | None
    """[K] where each chunk begins, or None: where its session is."""
    data: NDArray[Any]
    """[sum(lengths), *features], float32 or int64."""
    want: Want
    want_state: bool
    deadline: float
    """Seconds on the engine's clock; infinity for none."""
    asker: Asker
    arrived: float
    """Seconds on the engine's clock."""
    open_rows: int = 0
    """Rows not ended yet; counted by the asker, on the loop's thread."""

    @property
    def num_rows(self) -> int:
        """K."""
        return len(self.lengths)

    @property
    def kind(self) -> int:
        """What was asked back, as one number: repeats of a chunk must ask for the same."""
        return self.want * 2 + self.want_state
