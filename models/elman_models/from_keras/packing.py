"""`elman_models.pack_keras`: a bundle from a .keras or .h5 file."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from elman_models.comparison import TOLERANCE
from elman_models.export.file_packing import FileModule, pack_file
from elman_models.export.packing import Words
from elman_models.export.refusals import ExportError
from elman_models.export.report import PackedModule
from elman_models.export.target import Target
from elman_models.export.tensors import Argument
from elman_models.from_keras.archive import read_keras
from elman_models.from_keras.config import parse_model
from elman_models.from_keras.model import Input, KerasModel
from elman_models.from_keras.module import KerasModule
from elman_models.from_keras.weights import Weights

_BATCH, _LENGTH = 3, 5
"""Of the example."""
_PROVED = "its layers as torch's modules (Keras itself was not run)"


def pack_keras(
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
    """Makes a bundle of a whole model in a file of Keras 3 (.keras) or an older one (.h5), and proves that the graph
    gives what the layers give.

    Args:
        path: the file, as `model.save(...)` writes it.
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
        ExportError: the file is damaged, holds code, or no bundle can be what it says; the message names the layer.
        GoldenError: the golden file cannot be read, or is none of this model.
        BundleError: `out` is in use, or cannot be written.
    """
    words = Words(name, version, description, metadata, precision)
    target = Target(out, tolerance, golden, overwrite=overwrite, quiet=quiet)
    return pack_file(path, _read, words, target)


def _read(path: Path) -> Iterator[FileModule]:
    try:
        file = read_keras(path)
        model = parse_model(file.config)
        weights = Weights(file.weights, model.layers, is_legacy=file.is_legacy)
        module = KerasModule(model, weights, is_legacy=file.is_legacy).eval()
    except RecursionError as error:
        raise ExportError("models within models, nested too deeply") from error
    yield FileModule(
        module,
        (Argument("inputs", _example(model, module)),),
        module.parts,
        batch_first=True,
        features={one.name: set(range(2, 1 + len(one.shape))) for one in model.inputs},
        proved_against=_PROVED,
        notes=tuple(dict.fromkeys(module.notes)),
    )


def _example(model: KerasModel, module: KerasModule) -> dict[str, torch.Tensor]:
    ids = module.ids()
    if not any(_is_sequence(one, one.name in ids) for one in model.inputs):
        raise ExportError("takes no sequence: no input [batch, time, features], and none of ids [batch, time]")
    return {one.name: _tensor(one, one.name in ids) for one in model.inputs}


def _is_sequence(one: Input, is_ids: bool) -> bool:
    return len(one.shape) > (0 if is_ids else 1)


def _tensor(one: Input, is_ids: bool) -> torch.Tensor:
    """[batch, time, *features], the length open whatever the file says; [batch, *features] of what has no time."""
    features = one.shape[1:] if _is_sequence(one, is_ids) else one.shape
    sizes = [size for size in features if size is not None]
    if len(sizes) < len(features):
        raise ExportError(f"input {one.name}: sizes of features are open in {[None, *one.shape]}")
    shape = [_BATCH, _LENGTH, *sizes] if _is_sequence(one, is_ids) else [_BATCH, *sizes]
    return torch.zeros(shape, dtype=torch.int64) if is_ids else torch.randn(shape)
