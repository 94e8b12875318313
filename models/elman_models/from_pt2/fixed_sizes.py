"""The length and the batch that a program was exported for: torch.export fixes them where there is a recurrence.

A program says them as numbers, which are any numbers: 5 may be the length, or a size of the network. They are told
apart by running the program on shapes alone, with sizes in their place that no network has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt

from elman_models.export.refusals import ExportError
from elman_models.from_pt2.program import Program
from elman_models.from_pt2.recurrent import Stack

BATCH, TIME = 65537, 65539
"""Primes, which no size of a network is a multiple of."""
OTHERS = (65543, 65551, 65557, 65563)


@dataclass(frozen=True)
class Fixed:
    """What a program is made for; 0: it leaves that open."""

    batch: int
    """Of 1 nothing is said: it is then one sequence at a time."""
    time: int
    axes: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    """Of each input the axes that are the batch or the length: BATCH or TIME by axis."""
    told_by: str = ""
    """The recurrence that runs over them."""

    @property
    def sizes(self) -> dict[int, int]:
        """What is told apart: BATCH and TIME with the number that stands for each."""
        return {prime: size for prime, size in ((BATCH, self.batch), (TIME, self.time)) if size > 1}

    def words(self) -> str:
        """As a note says it."""
        parts = [f"sequences of length {self.time}"] * bool(self.time) + [f"a batch of {self.batch}"] * bool(self.batch)
        return " and ".join(parts)

    def could_be(self, number: float) -> str:
        """Which of them a number in the network could have been computed from, in words; empty: of none."""
        for prime, size in self.sizes.items():
            word = "length" if prime == TIME else "batch"
            near = {size, 1 / size, sqrt(size), 1 / sqrt(size)}
            near |= {size - 1, size + 1, 1 / (size - 1)} if prime == TIME else set()
            if self.batch > 1 and self.time > 1:
                near |= {self.batch * self.time, 1 / (self.batch * self.time)}
            if any(abs(number - one) <= 1e-6 * one for one in near - {0, 1}):
                return word
        return ""


def fixed_of(program: Program, stacks: Mapping[str, Stack]) -> Fixed:
    """What it is made for, as a recurrence over an input's first two axes tells, or else the first one.

    Raises:
        ExportError: sequences of one step; or nothing tells which of fixed sizes is which.
    """
    if not stacks:
        if not any(any(program.shapes[name].symbols) for name in program.inputs):
            raise ExportError(
                "all its sizes are fixed, and there is no recurrence to tell which is the length. Instead: export it "
                "with dynamic_shapes, torch.export.Dim.AUTO for the batch and the length"
            )
        return Fixed(0, 0)
    leading = {frozenset(program.shapes[name].sizes[:2]) for name in program.inputs}
    over = [stack for stack in stacks.values() if frozenset(program.shapes[stack.input.name].sizes[:2]) in leading]
    stack = next(iter([*over, *stacks.values()]))
    shape = program.shapes[stack.input.name]
    rows, steps = (0, 1) if stack.batch_first else (1, 0)
    time = 0 if shape.symbols[steps] else shape.sizes[steps]
    batch = 0 if shape.symbols[rows] else shape.sizes[rows]
    if time == 1:
        raise ExportError("was exported for sequences of one step. Instead: export it with several steps")
    _check_primes(program)
    begins = {ref.name for stack in stacks.values() for ref in stack.initial}
    axes = {name: _axes(program.shapes[name].sizes, name in begins, steps, batch, time) for name in program.inputs}
    return Fixed(batch, time, axes, stack.node.name)


def _check_primes(program: Program) -> None:
    """None of the sizes that stand for others is in the program."""
    for name, told in program.shapes.items():
        if any(size and size % prime == 0 for size in told.sizes for prime in (BATCH, TIME, *OTHERS)):
            raise ExportError(f"{name}: a size that is a multiple of {BATCH} or a prime near it, {list(told.sizes)}")


def _axes(sizes: tuple[int, ...], begins: bool, steps: int, batch: int, time: int) -> dict[int, int]:
    """Of an input: which of its first two axes are the batch and the length, by their sizes."""
    if begins:
        return {1: BATCH} if batch > 1 and sizes[1:2] == (batch,) else {}
    found: dict[int, int] = {}
    if time:
        order = [steps, 1 - steps]
        at = next((axis for axis in order if axis < len(sizes) and sizes[axis] == time), None)
        if at is not None:
            found[at] = TIME
    if batch > 1:
        order = [axis for axis in ([1 - steps, steps] if found else [0]) if axis not in found]
        at = next((axis for axis in order if axis < len(sizes) and sizes[axis] == batch), None)
        if at is not None:
            found[at] = BATCH
    return found
