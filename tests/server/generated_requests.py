"""What a machine is to send, before it is known which sessions there are."""

import math
from dataclasses import dataclass

from hypothesis import strategies as st

from elman_server.exchange.frames import Want

IDS = tuple("abcdefg")


@dataclass
class RowRequest:
    """A chunk of one session."""

    how: str
    """next; again: a chunk that was there before; ahead or behind of the session; stale: under an older handle; nan:
    with a value that is to be refused."""
    pick: int
    """Which of several."""
    steps: int


@dataclass
class FrameRequest:
    """A frame of one caller."""

    rows: dict[str, RowRequest]
    named: bool
    """Whether it names positions."""
    want: Want
    state: bool
    timeout: float
    sink: int


@dataclass
class GenerationRequest:
    """What a session is to generate."""

    prompt: int
    """Steps; 0: none."""
    steps: int
    seed: int
    greedy: bool
    cut: int | None
    """After how many steps the caller goes away, and asks for the rest; None: it stays."""


ROWS = st.builds(
    RowRequest,
    how=st.sampled_from(["next"] * 6 + ["again"] * 3 + ["ahead", "behind", "stale", "nan"]),
    pick=st.integers(0, 5),
    steps=st.one_of(st.integers(1, 3), st.integers(1, 11)),
)
REQUESTS = st.builds(
    FrameRequest,
    rows=st.dictionaries(st.sampled_from(IDS), ROWS, min_size=1, max_size=5),
    named=st.booleans(),
    want=st.sampled_from(list(Want)),
    state=st.booleans(),
    timeout=st.sampled_from([math.inf] * 8 + [0.0, 3.0]),
    sink=st.integers(0, 2),
)
FRAMES = st.lists(REQUESTS, min_size=1, max_size=3)
GENERATIONS = st.builds(
    GenerationRequest,
    prompt=st.sampled_from([0, 0, 1, 2, 5]),
    steps=st.integers(1, 6),
    seed=st.integers(0, 99),
    greedy=st.booleans(),
    cut=st.none() | st.integers(0, 6),
)
