"""Frames and what is asked of them: the domain's request, from the door to the engine and back."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from elman_server.answers import Answer, StepAnswer
from elman_server.input_spec import InputSpec
from elman_server.want import Want as Want

Array = NDArray[Any]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]


class Frame(Protocol):
    """Chunks of K sessions of one model version, in the packed layout. Checked by the door, not by its sessions."""

    frame_id: int
    """The caller's number, told back."""
    want: Want
    want_state: bool
    deadline: float
    """Seconds on the engine's clock; infinity for none."""
    arrived: float
    """Seconds on the engine's clock."""
    open_rows: int
    """Rows not ended yet; counted by the asker, on the loop's thread."""

    @property
    def asker(self) -> "Asker":
        """Who waits for the answers."""
        ...

    @property
    def handles(self) -> U64:
        """[K], distinct; empty for a frame of `Infer`, whose rows borrow slots."""
        ...

    @property
    def lengths(self) -> I64:
        """[K], non-increasing, at least 1."""
        ...

    @property
    def positions(self) -> I64 | None:
        """[K] where each chunk begins, or None: where its session is."""
        ...

    @property
    def data(self) -> Array:
        """[sum(lengths), *features], float32 or int64."""
        ...

    @property
    def num_rows(self) -> int:
        """K."""
        ...

    @property
    def num_steps(self) -> int:
        """Session-steps: sum(lengths)."""
        ...

    @property
    def num_bytes(self) -> int:
        """Of the data."""
        ...

    @property
    def longest(self) -> int:
        """Steps of the longest row."""
        ...

    @property
    def kind(self) -> int:
        """What was asked back, as one number: repeats of a chunk must ask for the same."""
        ...


class Asker(Protocol):
    """Who waits for a frame's answers. Called on the event loop's thread only."""

    def deliver(self, frame: Frame, answer: Answer) -> None:
        """Takes one answer: at most one per frame and engine step, and one before for rows that are refused as they
        arrive; each row ends exactly once."""
        ...


class LetterAsker(Protocol):
    """Who waits for a letter's answers. Called on the event loop's thread only."""

    def deliver(self, frame: Frame, answer: Answer | StepAnswer) -> None:
        """As `Asker`'s."""
        ...


@dataclass(slots=True, eq=False)
class PackedFrame:
    """A frame of any number of rows: see `Frame`."""

    frame_id: int
    handles: U64
    lengths: I64
    positions: I64 | None
    data: Array
    want: Want
    want_state: bool
    deadline: float
    asker: Asker
    arrived: float
    open_rows: int = 0

    @property
    def num_rows(self) -> int:
        """See `Frame`."""
        return len(self.lengths)

    @property
    def num_steps(self) -> int:
        """See `Frame`."""
        return len(self.data)

    @property
    def num_bytes(self) -> int:
        """See `Frame`."""
        return self.data.nbytes

    @property
    def longest(self) -> int:
        """See `Frame`."""
        return int(self.lengths[0])

    @property
    def kind(self) -> int:
        """See `Frame`."""
        return _kind(self.want, self.want_state)


@dataclass(slots=True, eq=False)
class Letter:
    """A frame of one row, as plain numbers: what separate callers send, one each. Arrays of one number took more time
    than all else that is done for such a message."""

    frame_id: int
    handle: int
    length: int
    position: int
    """-1: where its session is."""
    raw: bytes
    """The data as it came."""
    input: InputSpec
    want: Want
    want_state: bool
    deadline: float
    asker: LetterAsker
    arrived: float
    open_rows: int = 1

    @property
    def handles(self) -> U64:
        """See `Frame`."""
        return np.array([self.handle], np.uint64)

    @property
    def lengths(self) -> I64:
        """See `Frame`."""
        return np.array([self.length])

    @property
    def positions(self) -> I64 | None:
        """See `Frame`."""
        return None if self.position < 0 else np.array([self.position])

    @property
    def data(self) -> Array:
        """See `Frame`; read-only."""
        return self.input.array(self.raw, self.length)

    @property
    def num_rows(self) -> int:
        """See `Frame`."""
        return 1

    @property
    def num_steps(self) -> int:
        """See `Frame`."""
        return self.length

    @property
    def num_bytes(self) -> int:
        """See `Frame`."""
        return len(self.raw)

    @property
    def longest(self) -> int:
        """See `Frame`."""
        return self.length

    @property
    def kind(self) -> int:
        """See `Frame`."""
        return _kind(self.want, self.want_state)


def _kind(want: Want, want_state: bool) -> int:
    return want * 2 + want_state
