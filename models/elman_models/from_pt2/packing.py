"""`elman_models.pack_pt2`: a bundle from a .pt2 file."""

import os
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path

import torch

from elman_models.comparison import TOLERANCE
from elman_models.export.file_packing import FileModule, pack_file
from elman_models.export.packing import Words, called
from elman_models.export.refusals import ExportError
from elman_models.export.report import PackedModule
from elman_models.export.target import Target
from elman_models.export.tensors import Argument
from elman_models.from_pt2.archive import read_pt2
from elman_models.from_pt2.module import Pt2Module
from elman_models.from_pt2.operations import RECURRENCES
from elman_models.from_pt2.parsing import parsed

_PROVED = (
    "the file's operations, run by torch (not the module that it was made of: there is none to compare with; a golden "
    "file, --golden, tells what that gives)"
)
_GUESS = "the first axis of inputs is the batch, the second the length: neither a recurrence nor a convolution says so"
_MAX_PROVED = 1 << 24
"""Numbers of all values together, of a run at the file's own sizes."""


def pack_pt2(
    path: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    name: str,
    version: str = "1",
    description: str = "",
    metadata: Mapping[str, str] | None = None,
    precision: str = "float32",
    tolerance: float = TOLERANCE,
    golden: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> PackedModule:
    """Makes a bundle of a file of torch.export.save, and proves that it gives what the file's operations give.

    Nothing in the file is run, unpickled or evaluated: its program is read as JSON, its tensors as plain bytes, and
    operations are looked up by name in a closed table. Where torch.export fixed the length and the batch, as it does
    where there is a recurrence, others take their place only where each number in the program can be one thing.

    Args:
        path: the file.
        out: the bundle's folder, new or empty.
        name: the model's.
        version, description, metadata: of the bundle.
        precision: the least that plans may compute with, as of `GraphSpec`.
        tolerance: the largest difference that is no error, times max(1, |y|).
        golden: a file of inputs and what the file's model gives for them, as `compare_graph` takes it; what the
            bundle gives is held against it, too.
        overwrite: replace a bundle that is there.
        quiet: print nothing.

    Raises:
        ExportError: the file is damaged or no bundle can be what it says; the message names the operation and, where
            the file tells it, its author's line. Or what was made of it gives something else.
        GoldenError: the golden file cannot be read, or is none of this model.
        BundleError: `out` is in use, or cannot be written.
    """
    words = Words(name, version, description, metadata, precision)
    target = Target(out, tolerance, golden, overwrite=overwrite, quiet=quiet)
    return pack_file(path, _read, words, target)


def _read(path: Path) -> Iterator[FileModule]:
    file = read_pt2(path)
    module = Pt2Module(parsed(file.program), file.tensors).eval()
    is_small = sum(prod(shape.sizes) for shape in module.program.shapes.values()) <= _MAX_PROVED
    own = _own_shape(module) if is_small else None
    yield FileModule(
        module,
        (Argument("inputs", _example(module)),),
        module.parts,
        batch_first=True,
        reference=lambda arguments: _told(module, arguments),
        proved_against=_PROVED,
        notes=tuple(_notes(module, file.tensors, is_proved=own is not None)),
        shapes=() if own is None else (own,),
    )


def _example(module: Pt2Module) -> dict[str, torch.Tensor]:
    """Inputs of the file's own sizes."""
    shapes = {name: module.program.shapes[name] for name in module.program.inputs}
    if sum(prod(shape.sizes) for shape in shapes.values()) > _MAX_PROVED:
        raise ExportError(f"its example has more than {_MAX_PROVED} numbers. Instead: export it with a smaller one")
    return {
        name: torch.randn(shape.sizes) if shape.dtype.is_floating_point else torch.zeros(shape.sizes, dtype=shape.dtype)
        for name, shape in shapes.items()
    }


def _told(module: Pt2Module, arguments: Sequence[object]) -> object:
    """What the file says: to the letter, where sizes are its own."""
    (inputs,) = arguments
    assert isinstance(inputs, dict)
    return called(module.as_told if module.is_of_file(inputs) else module, arguments)  # type: ignore[arg-type]


def _own_shape(module: Pt2Module) -> tuple[int, int] | None:
    """Batch and length of the file's example, where it fixes them."""
    fixed = module.fixed
    return (fixed.batch or 2, fixed.time) if fixed.time else None


def _notes(module: Pt2Module, tensors: Mapping[str, torch.Tensor], *, is_proved: bool) -> list[str]:
    notes, fixed = [], module.fixed
    if fixed.time or fixed.batch:
        told = "it was held at that, too" if is_proved else "too large to be held at that, too"
        notes.append(f"the file is of {fixed.words()}; that the module does the same with others ({told})")
    kinds = {t.dtype for t in tensors.values() if t.is_floating_point()} - {torch.float32}
    if kinds:
        listed = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        notes.append(f"float32 in place of {listed}, which weights in the file are")
    if not any(node.op in (*RECURRENCES, "conv1d") for node in module.program.nodes):
        notes.append(_GUESS)
    return notes
