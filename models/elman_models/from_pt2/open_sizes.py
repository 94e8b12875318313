"""Which numbers in a program are the length or the batch that it was exported for, so that others can take their place.

The program is run on shapes alone, once as it is and once with other sizes, and each number in a shape must come out
as one thing; where it could be two, the program is refused.
"""

from collections.abc import Mapping

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from elman_models.export.quiet import quiet
from elman_models.export.refusals import ExportError
from elman_models.from_pt2.fixed_sizes import OTHERS, Fixed
from elman_models.from_pt2.guessing import Attempt, ambiguous
from elman_models.from_pt2.operations import done, tensors_of
from elman_models.from_pt2.patterns import Patterns
from elman_models.from_pt2.program import Program, Pt2Node
from elman_models.from_pt2.recurrent import Stack
from elman_models.from_pt2.running import run_program

Values = dict[str, object]


class OpenSizes:
    """Finds them."""

    def __init__(
        self, program: Program, constants: Mapping[str, torch.Tensor], stacks: Mapping[str, Stack], fixed: Fixed
    ) -> None:
        self._program, self._constants, self._stacks, self._fixed = program, constants, stacks, fixed
        self._as_told = self._run_as_told()

    def patterns(self) -> Patterns:
        """All that there are.

        Raises:
            ExportError: shapes that are not those of the file; or a number that could be two things.
        """
        if not self._fixed.sizes:
            return {}
        found: list[Patterns] = []
        refusal: ExportError | None = None
        for makes_open in (False, True):
            attempt = Attempt(self._program, self._stacks, self._fixed, self._as_told, makes_open=makes_open)
            try:
                with quiet(), FakeTensorMode():
                    found.append(attempt.patterns(self._fake_values(others=True)))
            except ExportError as error:
                refusal = refusal or error
            if not attempt.has_choices:
                break
        if len(found) > 1 and found[0] != found[1]:
            raise ExportError(f"{self._differing(*found)}: {ambiguous(self._fixed)}")
        if not found:
            assert refusal is not None
            raise refusal
        return found[0]

    def _differing(self, one: Patterns, other: Patterns) -> str:
        names = {name for name in {**one, **other} if one.get(name) != other.get(name)}
        return ", ".join(str(node) for node in self._program.nodes if node.name in names)

    def _run_as_told(self) -> dict[str, tuple[int, ...]]:
        """The shapes of all values, as they are for the file's own example."""

        def call(node: Pt2Node, given: Values) -> object:
            stack = self._stacks.get(node.name)
            result = stack.of_shapes(given) if stack else done(node, given)
            for name, one in zip(node.outputs, tensors_of(result), strict=False):
                self._check_told(node, name, one)
            return result

        with quiet(), FakeTensorMode():
            known = run_program(self._program, self._fake_values(others=False), call)
        return {name: tuple(one.shape) for name, one in known.items() if isinstance(one, torch.Tensor)}

    def _check_told(self, node: Pt2Node, name: str, got: torch.Tensor) -> None:
        told = self._program.shapes.get(name)
        if told is not None and told.sizes != tuple(got.shape):
            raise ExportError(f"{node}: the file says {list(told.sizes)} of {name}, it gives {list(got.shape)}")

    def _fake_values(self, *, others: bool) -> Values:
        """Tensors without numbers; of the file's sizes, or with `others` in place of those that are to be open."""
        program, values = self._program, Values()
        symbols: dict[str, int] = {}
        for name, tensor in self._constants.items():
            values[name] = torch.empty(tensor.shape, dtype=tensor.dtype)
        for name in program.inputs:
            told = program.shapes[name]
            sizes = list(told.sizes)
            for axis, symbol in enumerate(told.symbols):
                if others and symbol:
                    sizes[axis] = symbols.setdefault(symbol, OTHERS[len(symbols) % len(OTHERS)])
                elif others and axis in self._fixed.axes.get(name, {}):
                    sizes[axis] = self._fixed.axes[name][axis]
            values[name] = torch.empty(sizes, dtype=told.dtype)
        return values
