"""Where a bundle is to go, and what it takes to be written there: how far it may be from what it was made of."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from elman_models.bundle import check_target, write_bundle
from elman_models.comparison import TOLERANCE
from elman_models.export.assembly import Assembled
from elman_models.export.proof import Differences
from elman_models.export.refusals import ExportError
from elman_models.export.report import PackedModule
from elman_models.graph.golden import compare_graph
from elman_models.graph.stack import GraphStack


@dataclass(frozen=True)
class Proved:
    """A graph, and how far it is from the module."""

    assembled: Assembled
    differences: Differences
    reason: str = ""
    """Why it is a whole graph, where it is."""
    left_out: tuple[str, ...] = ()
    """What the module gives that is no tensor, and so no output."""


@dataclass(frozen=True)
class Target:
    """The folder of a bundle that is made, and on which terms it is written."""

    out: str | os.PathLike[str]
    tolerance: float = TOLERANCE
    """The largest difference that is no error, times max(1, |y|)."""
    golden: str | os.PathLike[str] | None = None
    """A file of inputs and what the bundle has to give for them."""
    overwrite: bool = False
    quiet: bool = False

    def check(self) -> None:
        """Nothing, where a bundle can be written: asked before the work.

        Raises:
            BundleError: the folder is in use.
        """
        check_target(Path(self.out).resolve(), self.overwrite)

    def write(self, proved: Proved, proved_against: str = "", notes: Sequence[str] = ()) -> PackedModule:
        """Writes the bundle, where it gives what it has to, and prints what was made.

        Args:
            proved: the graph.
            proved_against: what it was held against, in words, if not the module.
            notes: what is assumed, a line each.

        Raises:
            ExportError: it gives something else than the module, or than the golden file.
            GoldenError: the golden file is none of this model.
            BundleError: the folder is in use, or cannot be written.
        """
        _check_difference(proved.differences, self.tolerance, proved_against or "the module")
        assembled, met = proved.assembled, self._met(proved.assembled)
        path = write_bundle(self.out, assembled.spec, assembled.weights, overwrite=self.overwrite)
        packed = PackedModule(
            path,
            assembled,
            proved.differences,
            proved.reason,
            proved_against,
            notes=tuple(notes),
            golden=met,
            left_out=proved.left_out,
        )
        if not self.quiet:
            print(packed)  # noqa: T201 - what the author is told
        return packed

    def _met(self, assembled: Assembled) -> str:
        """What came of the golden file, in a line; nothing, where there is none."""
        if self.golden is None:
            return ""
        stack = GraphStack(assembled.spec, assembled.weights, torch.device("cpu"))
        difference = compare_graph(stack, self.golden)
        words = difference.describe(self.tolerance)
        if not difference.largest <= self.tolerance:
            raise ExportError(f"the bundle gives something else than {self.golden}: {words}")
        return words


def _check_difference(differences: Differences, tolerance: float, whose: str) -> None:
    if not differences.largest <= tolerance:
        raise ExportError(
            f"the bundle does not give what {whose} gives: {differences}, tolerance {tolerance:g} x max(1, |y|). So "
            "shows a number that depends on the length, the batch or the call, and so do numbers too large for float32"
        )
