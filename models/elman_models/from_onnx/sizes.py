"""Whole numbers of an .onnx graph that say shapes: what exporters compute of Shape, and give to Reshape."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

import torch

from elman_models.graph.value import MAX_NUMEL

MAX_SIZES = 64
"""Numbers of a tensor that may be sizes; longer ones are tables."""

MAX_TOTAL = 1 << 26
"""Numbers of all values of a graph together, axes that are open aside."""

_MAX_TIMES = 16
"""How often weights may be turned and put together, each time counted by the file's."""

Number = int | bool | torch.SymInt | torch.SymBool


@dataclass(frozen=True)
class Sizes:
    """A tensor of int64 (or bool) of no axis or one, each number known, or the length of an axis that is open."""

    numbers: tuple[Number, ...]
    is_scalar: bool = False

    def same(self, numbers: Sequence[Number]) -> "Sizes":
        """Others, of as many axes."""
        return Sizes(tuple(numbers), self.is_scalar)

    @property
    def number(self) -> Number:
        """The only one."""
        (number,) = self.numbers
        return number

    def tensor(self) -> torch.Tensor:
        """As a tensor.

        Raises:
            ValueError: one is the length of an axis that is open.
        """
        if not all(isinstance(number, int) for number in self.numbers):
            raise ValueError("a number that depends on the batch or the length, among the numbers of the model")
        given = list(self.numbers)
        dtype = torch.bool if given and all(isinstance(n, bool) for n in given) else torch.int64
        return torch.tensor(given[0] if self.is_scalar else given, dtype=dtype)


Operand = torch.Tensor | Sizes | None
"""A value of the graph while it is read; None: left out."""


class Turned:
    """What a file's graph makes of the file's own numbers: of each value at most as many, of all so many times that."""

    def __init__(self, stored: int) -> None:
        self.stored = stored
        self._total = 0

    def count(self, shapes: Iterable[Sequence[object]]) -> None:
        """Takes account of results; those with an open axis are none of these.

        Raises:
            ValueError: they are too many together with those before.
        """
        known = [shape for shape in shapes if all(isinstance(size, int) for size in shape)]
        self._total += sum(check_numel(shape, self.stored) for shape in known)
        most = _MAX_TIMES * self.stored + MAX_TOTAL
        if self._total > most:
            raise ValueError(f"with it {self._total} numbers are made of the file's own; expected at most {most}")


def check_numel(shape: Sequence[object], limit: int = 0) -> int:
    """The numbers of a tensor of that shape, axes that are open aside; where it is too large, `limit` allows more.

    Raises:
        ValueError: it is more than a value of a graph may have.
    """
    numel = prod(size for size in shape if isinstance(size, int))
    if numel > max(limit, MAX_NUMEL):
        raise ValueError(f"a value of {numel} numbers; expected at most {max(limit, MAX_NUMEL)} for a step")
    return numel
