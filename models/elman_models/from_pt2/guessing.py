"""A program run on shapes alone, with sizes in place of its own length and batch: what each number in it must be."""

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import NoReturn

import torch

from elman_models.export.refusals import ExportError
from elman_models.from_pt2.fixed_sizes import BATCH, OTHERS, TIME, Fixed
from elman_models.from_pt2.operations import done, is_skipped, tensors_of
from elman_models.from_pt2.patterns import Number, Patterns, Size, as_size, replaced
from elman_models.from_pt2.program import Program, Pt2Node
from elman_models.from_pt2.recurrent import Stack
from elman_models.from_pt2.running import run_program

VIEWS = {"view": "size", "reshape": "shape", "_unsafe_view": "size"}
"""Operations that say the sizes of a tensor that is there, and in which argument."""
MADE = {
    **dict.fromkeys(("zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_full", "new_empty"), "size"),
    "expand": "size",
    "repeat": "repeats",
    "tile": "dims",
    "broadcast_to": "size",
}
"""Operations that make axes, likewise."""
_NUMBERS = ("other", "alpha", "beta", "value", "fill_value", "exponent", "min", "max", "end", "threshold", "lambd")
"""Arguments that may be numbers which were computed from a size."""
_COPIES = ("contiguous", "clone", "detach", "to", "_to_copy")
END = (1 << 63) - 1
_MAX_WAYS = 1 << 12
"""In which the numbers of a view may be read; no view of a network's comes near."""


def ambiguous(fixed: Fixed) -> str:
    """What is said of a number that could be two things."""
    return (
        f"a number in it could be the length or the batch, or a size of the network: the file is of {fixed.words()}. "
        "Instead: export it with an example whose length and batch differ, and are no other number of the network; if "
        "that is not enough, give the module: elman_models.pack"
    )


def _beginnings(program: Program, stacks: Mapping[str, Stack]) -> set[str]:
    """Values that are a recurrence's initial state, and those that are for nothing but to be copied to one."""
    found = {ref.name for stack in stacks.values() for ref in stack.initial}
    users: dict[str, list[Pt2Node]] = {}
    for node in reversed(program.nodes):
        for name in node.outputs:
            later = users.get(name, [])
            if later and all(user.op in _COPIES and found & set(user.outputs) for user in later):
                found.add(name)
        for ref in () if is_skipped(node) else node.refs():
            users.setdefault(ref.name, []).append(node)
    return found


def _is_near_end_or_middle(step: int, length: int) -> bool:
    """Where a step is that its author may have meant as the last, the one before it, or the middle one."""
    return step >= length - 2 or abs(2 * step - length) <= 1


class Attempt:
    """One way to read the numbers."""

    def __init__(
        self,
        program: Program,
        stacks: Mapping[str, Stack],
        fixed: Fixed,
        told: Mapping[str, tuple[int, ...]],
        *,
        makes_open: bool,
    ) -> None:
        """`told`: the shapes of all values in the file's example; `makes_open`: whether axes that are made of the
        length's or the batch's size are the length or the batch."""
        self._program, self._stacks, self._fixed, self._told = program, stacks, fixed, told
        self._makes_open = makes_open
        self._beginnings = _beginnings(program, stacks)
        self._found: Patterns = {}
        self.has_choices = False
        """Whether there is any such axis."""

    def patterns(self, values: Mapping[str, object]) -> Patterns:
        """What is found; on fake tensors.

        Raises:
            ExportError: shapes do not go together for other sizes, or a number may be two things.
        """
        known = run_program(self._program, values, self._call)
        for ref in self._program.outputs.values():
            if ref.name not in known:
                raise ExportError(f"{ref.name}: is used, and nothing gives it")
        return self._found

    def _call(self, node: Pt2Node, given: dict[str, object]) -> object:
        stack = self._stacks.get(node.name)
        if stack:
            return self._recurrence(stack, given)
        self._check_numbers(node, given)
        try:
            numbers = self._numbers(node, given)
        except (LookupError, TypeError) as error:
            raise ExportError(f"{node}: arguments that do not go together") from error
        sizes = {prime: prime for prime in self._fixed.sizes}
        for name, parts in numbers.items():
            if any(part is not None for part in parts):
                self._found.setdefault(node.name, {})[name] = parts
                given = {**given, name: replaced(given[name], parts, sizes)}
        try:
            result = done(node, given)
        except ExportError as error:
            raise ExportError(f"{error} (with others than {self._fixed.words()}, which the file is for)") from error
        self._check(node, result)
        return result

    def _recurrence(self, stack: Stack, given: Mapping[str, object]) -> object:
        x, (rows, steps) = stack.sequences(given), (0, 1) if stack.batch_first else (1, 0)
        for axis, prime in ((rows, BATCH), (steps, TIME)):
            if stack.node.name == self._fixed.told_by and prime in self._fixed.sizes and x.shape[axis] != prime:
                self._refuse(stack.node)
        return stack.of_shapes(given)

    def _refuse(self, node: Pt2Node) -> NoReturn:
        raise ExportError(f"{node}: {ambiguous(self._fixed)}")

    def _check(self, node: Pt2Node, result: object) -> None:
        """The result is what the file tells, with other sizes."""
        for name, one in zip(node.outputs, tensors_of(result), strict=False):
            told, back = self._told[name], [as_size(size, self._fixed) for size in one.shape]
            same = [s.with_sizes(self._fixed.sizes) if isinstance(s, Size) else s for s in back]
            open_ones = [isinstance(s, Size) or s > BATCH // 2 for s in back]  # of what is padded or cut a little off
            if len(told) != len(same) or any(
                a != b for a, b, is_open in zip(told, same, open_ones, strict=True) if not is_open
            ):
                raise ExportError(
                    f"{node}: is made for {self._fixed.words()}: {list(told)} there. Instead: x.shape[0] where len(x) "
                    "is meant, and an example whose length is no other number of the network"
                )

    def _numbers(self, node: Pt2Node, given: Mapping[str, object]) -> dict[str, Sequence[Number]]:
        x, name = given.get("self"), {**VIEWS, **MADE}.get(node.op, "")
        sizes = given.get(name)
        if node.op in VIEWS and isinstance(x, torch.Tensor) and isinstance(sizes, list):
            return {name: self._viewed(node, x, sizes)}
        if node.op in MADE and isinstance(sizes, list):
            return {name: self._made(node, x, sizes)}
        if node.op in ("slice", "narrow", "select") and isinstance(x, torch.Tensor):
            return self._cut(node, x, given)
        return {}

    def _viewed(self, node: Pt2Node, x: torch.Tensor, sizes: list[int]) -> list[Number]:
        """Of a view: what makes as many numbers."""
        now, told = list(x.shape), list(self._told[self._source(node)])
        found: list[Number] = [None] * len(sizes)
        begin, end = self._alike(now, told, sizes, found)
        middle, count = sizes[begin:end], prod(now[begin : len(now) - (len(sizes) - end)])
        readings = [self._readings(one) for one in middle]
        if prod(map(len, readings)) > _MAX_WAYS:
            self._refuse(node)
        ways = [way for way in product(*readings) if self._fits(way, middle, count)]
        if len(ways) != 1:
            if ways:
                self._refuse(node)
            raise ExportError(
                f"{node}: is made for {self._fixed.words()}. Instead: export it with an example whose length is no "
                "other number of the network; or give the module: elman_models.pack"
            )
        for at, (one, was) in enumerate(zip(ways[0], middle, strict=True), begin):
            found[at] = one if one != was else None
        return found

    def _source(self, node: Pt2Node) -> str:
        source = node.arguments["self"]
        return str(getattr(source, "name", ""))

    def _alike(self, now: Sequence[int], told: Sequence[int], sizes: list[int], found: list[Number]) -> tuple[int, int]:
        """Axes that stay as they are, first and last; where the others are."""
        begin, end, last = 0, len(sizes), len(now)
        while begin < min(end, last) and sizes[begin] == told[begin]:
            found[begin] = self._kept(now[begin], sizes[begin])
            begin += 1
        while end > begin and last > begin and sizes[end - 1] == told[last - 1]:
            end, last = end - 1, last - 1
            found[end] = self._kept(now[last], sizes[end])
        return begin, end

    def _kept(self, now: int, size: int) -> Number:
        return as_size(now, self._fixed) if now != size else None

    def _readings(self, number: object) -> list[int | Size]:
        """What a number could be."""
        if not isinstance(number, int) or number <= 0 or any(number % prime == 0 for prime in (BATCH, TIME, *OTHERS)):
            return [number]  # type: ignore[list-item]  # whatever is left, or a size that is open in the file
        found: list[int | Size] = [number]
        known = self._fixed.sizes
        for of in [(one,) for one in known] + [tuple(known)] * (len(known) > 1):
            size = prod(known[one] for one in of)
            if number % size == 0:
                found.append(Size(number // size, of))
        return found

    def _fits(self, way: Sequence[int | Size], middle: Sequence[int], count: int) -> bool:
        """Whether they make `count` numbers, and what is left to -1 is a size of the file's."""
        primes = {prime: prime for prime in self._fixed.sizes}
        values = [one.with_sizes(primes) if isinstance(one, Size) else one for one in way]
        made = prod(value for value in values if value != -1)  # type: ignore[misc]
        if -1 not in middle:
            return made == count
        return made > 0 and count % made == 0

    def _made(self, node: Pt2Node, x: object, sizes: list[int]) -> list[Number]:
        """Of axes that are made: as large as they are, or the length or the batch."""
        now = list(x.shape) if isinstance(x, torch.Tensor) and node.op in ("expand", "broadcast_to") else []
        missing = len(sizes) - len(now)
        told = [0] * missing + list(self._told[self._source(node)]) if now else []
        found: list[Number] = [None] * len(sizes)
        begins = bool(self._beginnings & set(node.outputs))
        for axis, size in enumerate(sizes):
            if now and axis >= missing and size == told[axis] and size != 1:
                found[axis] = -1  # of an axis that is there
            elif begins and axis == 1 and BATCH in self._fixed.sizes and size == self._fixed.batch:
                found[axis] = Size(1, (BATCH,))
            elif isinstance(size, int) and not begins and size in self._fixed.sizes.values():
                self.has_choices = True
                if self._makes_open:
                    prime = next(prime for prime, own in self._fixed.sizes.items() if own == size)
                    if list(self._fixed.sizes.values()).count(size) > 1:
                        self._refuse(node)
                    found[axis] = Size(1, (prime,))
        return found

    def _cut(self, node: Pt2Node, x: torch.Tensor, given: Mapping[str, object]) -> dict[str, Sequence[Number]]:
        """Of steps that are taken out: to the last one, or by a number that says nothing of the length."""
        axis = given.get("dim", 0)
        now, told = x.shape[axis], self._told[self._source(node)][axis]  # type: ignore[call-overload]
        if now == told:
            return {}
        end = given.get("end")
        if node.op == "slice" and isinstance(end, int) and end >= told:
            return {"end": [END]}
        for name in ("start", "end", "index", "length"):
            value = given.get(name)
            if isinstance(value, int) and value != END and value > 0 and _is_near_end_or_middle(value, told):
                raise ExportError(
                    f"{node}: {name} {value}, of {told}: counted from the first step, or computed from the length? The "
                    f"file is of {self._fixed.words()}. Instead: count from the last (-1), or export it with a longer "
                    "example"
                )
        return {}

    def _check_numbers(self, node: Pt2Node, given: Mapping[str, object]) -> None:
        for name in _NUMBERS:
            value = given.get(name)
            word = self._fixed.could_be(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""
            if word and node.op not in ("slice", "select", "arange"):
                raise ExportError(
                    f"{node}: the number {value} may be one of the network, or computed from the {word} that the file "
                    f"is for ({self._fixed.words()}). Instead: export it with another {word}, or give the module: "
                    "elman_models.pack"
                )
