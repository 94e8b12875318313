"""Lengths: how many time steps a chunk has, as a distribution."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman_server.loadgen.options import LENGTHS


class Lengths(NamedTuple):
    """Chunk lengths in time steps, each at least 1."""

    kind: str
    low: float
    high: float

    @classmethod
    def parse(cls, text: str) -> "Lengths":
        """Reads `LENGTHS`.

        Raises:
            ValueError: it is something else.
        """
        kind, _, rest = text.partition(":") if ":" in text else ("fixed", "", text)
        try:
            numbers = [float(part) for part in rest.split(":")]
        except ValueError:
            numbers = []
        wanted = {"fixed": 1, "geometric": 1, "uniform": 2}.get(kind)
        whole = kind == "geometric" or all(number.is_integer() for number in numbers)
        if len(numbers) != wanted or min(numbers) < 1 or numbers[0] > numbers[-1] or not whole:
            raise ValueError(f"lengths: expected {LENGTHS} with numbers of at least 1, got {text!r}")
        return cls(kind, numbers[0], numbers[-1])

    @property
    def is_fixed(self) -> bool:
        """Whether all chunks are equally long."""
        return self.low == self.high and (self.kind != "geometric" or self.low == 1)

    @property
    def mean(self) -> float:
        """Mean steps per chunk."""
        return (self.low + self.high) / 2

    def sample(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """[count] lengths, longest first, as a frame has them."""
        if self.kind == "geometric":
            drawn = rng.geometric(1 / self.low, count)
        else:
            drawn = rng.integers(int(self.low), int(self.high) + 1, count)
        return -np.sort(-drawn.astype(np.int64))

    def __str__(self) -> str:
        if self.kind == "uniform":
            return f"uniform:{self.low:g}:{self.high:g}"
        return f"geometric:{self.low:g}" if self.kind == "geometric" else f"{self.low:g}"
