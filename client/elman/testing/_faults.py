"""What is to go wrong in the fake server, and what it has seen."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import grpc

CUT_CODES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED)
"""How a cut looks directly and through proxies."""


@dataclass
class Faults:
    """Set through `FakeServer`'s methods."""

    max_slice: int = 1 << 30
    cut_probability: float = 0.0
    cuts_left: int = 0
    random: random.Random = field(default_factory=random.Random)
    refusals_left: int = 0
    refusal_retry_seconds: float | None = 0.001
    loading_retry_seconds: float | None = None
    """While the first models are loaded: when callers are told to come again."""
    num_cuts: int = 0

    def cut_now(self) -> grpc.StatusCode | None:
        """Whether the stream is to be cut at this moment, and how it looks."""
        if self.cuts_left <= 0 or self.random.random() >= self.cut_probability:
            return None
        self.cuts_left -= 1
        self.num_cuts += 1
        return self.random.choice(CUT_CODES)

    def refuse_now(self) -> bool:
        """Whether the frame is to be refused for now."""
        if self.refusals_left <= 0:
            return False
        self.refusals_left -= 1
        return True
