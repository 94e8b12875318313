"""A module that was made from another framework's file, as a bundle."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from elman_models.bundle import check_target, write_bundle
from elman_models.export.assembly import Assembled
from elman_models.export.capture import capture, evaluating
from elman_models.export.lengths import check_context
from elman_models.export.packing import Words, assembled_of, called, check_difference, named_leaves, no_tensors, runner
from elman_models.export.proof import SHAPES, prove
from elman_models.export.refusals import ExportError
from elman_models.export.report import PackedModule
from elman_models.export.tensors import Argument, flatten
from elman_models.graph.golden import compare_graph
from elman_models.graph.stack import GraphStack

Reference = Callable[[Sequence[object]], object]
"""What the file gives for arguments like the module's, as the module gives it."""


@dataclass(frozen=True)
class FileModule:
    """A module of torch's own layers and functions that computes what a file says."""

    module: nn.Module
    arguments: tuple[Argument, ...]
    """An example of what it takes, by name."""
    parts: Mapping[str, str]
    """By a submodule's path what it is in the file, in words."""
    batch_first: bool
    """Whether an input is [B, T, ...], where nothing else tells."""
    features: Mapping[str, set[int]] = field(default_factory=dict)
    """By an input's name the axes that are neither batch nor length."""
    reference: Reference | None = None
    """None: the module itself."""
    proved_against: str = ""
    """What the reference is, in words."""
    notes: tuple[str, ...] = field(default=())
    """What is assumed, a line each."""
    shapes: tuple[tuple[int, int], ...] = ()
    """Batches and lengths to be held at besides those that every module is."""


def pack_file_module(
    given: FileModule,
    words: Words,
    *,
    out: str | os.PathLike[str],
    tolerance: float,
    golden: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> PackedModule:
    """Makes a bundle, and proves that it gives what the reference gives, and what a golden file says, if one is given.

    Raises:
        ExportError: it cannot be packed, or what was made of it gives something else.
        GoldenError: the golden file is none of this model.
        BundleError: `out` is in use, or cannot be written.
    """
    check_target(Path(out).resolve(), overwrite)
    run = partial(called, given.module)
    with evaluating(given.module):
        captured = replace(capture(given.module, given.arguments, given.batch_first, given.features), parts=given.parts)
        check_context(captured, ())
        leaves = list(flatten(run([argument.value for argument in captured.arguments]), "output"))
        names = named_leaves(leaves, None)
        assembled, reason = assembled_of(captured, names, words)
        shapes = [(1, length) if captured.sequences.batch is None else (batch, length) for batch, length in SHAPES]
        differences = prove(assembled, runner(given.reference or run, captured, assembled), [*given.shapes, *shapes])
    check_difference(differences.largest, str(differences), tolerance, given.proved_against or "the module")
    told = "" if golden is None else _met(assembled, golden, tolerance)
    path = write_bundle(out, assembled.spec, assembled.weights, overwrite=overwrite)
    packed = PackedModule(
        path, assembled, differences, reason, given.proved_against, given.notes, told, no_tensors(leaves)
    )
    if not quiet:
        print(packed)  # noqa: T201 - what was asked for
    return packed


def _met(assembled: Assembled, golden: str | os.PathLike[str], tolerance: float) -> str:
    """What came of the golden file, in a line.

    Raises:
        ExportError: the bundle gives something else.
    """
    difference = compare_graph(GraphStack(assembled.spec, assembled.weights, torch.device("cpu")), golden)
    told = difference.describe(tolerance)
    if not difference.largest <= tolerance:
        raise ExportError(f"the bundle gives something else than {golden}: {told}")
    return told
