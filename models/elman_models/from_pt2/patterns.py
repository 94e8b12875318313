"""Numbers of a program that are the length or the batch that it was exported for, or computed from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from elman_models.from_pt2.fixed_sizes import Fixed


@dataclass(frozen=True)
class Size:
    """A number that is a multiple of the batch, the length, or both."""

    times: int
    of: tuple[int, ...]
    """BATCH, TIME, or both."""

    def with_sizes(self, sizes: Mapping[int, object]) -> object:
        """The number where they are `sizes`."""
        found: object = self.times
        for one in self.of:
            found = found * sizes[one]  # type: ignore[operator]
        return found


Number = int | Size | None
Patterns = dict[str, dict[str, Sequence[Number]]]
"""By node and argument: numbers that are put in place of those of the file; None: as it is there."""


def as_size(number: int, fixed: Fixed) -> int | Size:
    """A number that came out of a run with primes."""
    of = tuple(prime for prime in fixed.sizes if number and number % prime == 0)
    return Size(number // prod(of), of) if of else number


def replaced(value: object, numbers: Sequence[Number], sizes: Mapping[int, object]) -> object:
    """An argument with other numbers."""
    parts = value if isinstance(value, list) else [value]
    made = [
        part if number is None else number.with_sizes(sizes) if isinstance(number, Size) else number
        for part, number in zip(parts, numbers, strict=True)
    ]
    return made if isinstance(value, list) else made[0]
