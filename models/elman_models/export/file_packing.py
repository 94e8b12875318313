"""A module that was made from another framework's file, as a bundle."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from torch import nn

from elman_models.export.capture import capture, evaluating
from elman_models.export.lengths import check_context
from elman_models.export.packing import Call, Words, built, called
from elman_models.export.refusals import ExportError
from elman_models.export.report import PackedModule
from elman_models.export.target import Target
from elman_models.export.tensors import Argument


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
    reference: Call | None = None
    """What the file gives for arguments like the module's, as the module gives it; None: the module itself."""
    proved_against: str = ""
    """What the reference is, in words."""
    notes: tuple[str, ...] = field(default=())
    """What is assumed, a line each."""
    shapes: tuple[tuple[int, int], ...] = ()
    """Batches and lengths to be held at besides those that every module is."""


def pack_file(
    path: str | os.PathLike[str], read: Callable[[Path], Iterable[FileModule]], words: Words, target: Target
) -> PackedModule:
    """Makes a bundle of a file, and proves that it gives what the reference gives, and what a golden file says, if one
    is given.

    Args:
        path: the file.
        read: it as a module; as several, where the file leaves open what it is: the first that can be packed counts.
        words: what the bundle says of itself.
        target: where it goes.

    Raises:
        ExportError: it cannot be packed, or what was made of it gives something else; says of which file.
        GoldenError: the golden file is none of this model.
        BundleError: the target is in use, or cannot be written.
    """
    refusals = list[ExportError]()
    try:
        for given in read(Path(path)):
            try:
                return _pack_module(given, words, target)
            except ExportError as error:
                refusals.append(error)
        raise refusals[0]
    except ExportError as error:
        raise ExportError(f"{path}: {error}") from error
    except RecursionError as error:
        raise ExportError(f"{path}: nested too deeply") from error


def _pack_module(given: FileModule, words: Words, target: Target) -> PackedModule:
    target.check()
    with evaluating(given.module):
        captured = replace(capture(given.module, given.arguments, given.batch_first, given.features), parts=given.parts)
        check_context(captured, (), is_named=False)  # nobody can be asked: there is no `context` to name it in
        call = partial(called, given.module)
        proved = built(call, captured, words, reference=given.reference, shapes=given.shapes)
    return target.write(proved, given.proved_against, given.notes)
