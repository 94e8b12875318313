"""What another framework gave for an input, in an .npz file: what a bundle made of its file is held against."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from elman_models.errors import GoldenError
from elman_models.export.assembly import Assembled
from elman_models.export.inputs import ModuleInput
from elman_models.export.proof import Differences, Run, prove, read_out
from elman_models.export.traced import Role, Traced

Arrays = Mapping[str, np.ndarray]


def compared(assembled: Assembled, path: Path) -> Differences:
    """How far the graph is from the arrays of `path`: each input and output by name, laid out as the file's model has
    them; where there is one of them also as `input`, `output`. States begin at zeros.

    Raises:
        GoldenError: it cannot be read, an array is missing, or has another shape. No pickle in it is opened.
    """
    arrays = _read(path)
    inputs = [one for one in assembled.inputs if one.kind in ("input", "context")]
    given = {one.name: _array(arrays, one.name, "input", len(inputs), path) for one in inputs}
    batch, length = (_size(inputs, given, role, path) for role in (Role.BATCH, Role.TIME))
    rows = {one.name: _rows(given[one.name], one.traced, batch, length, f"{path}: {one.name}") for one in inputs}
    expected = {
        o.name: _rows(
            _array(arrays, o.name, "output", len(assembled.outputs), path),
            o.traced,
            batch,
            length,
            f"{path}: {o.name}",
        )
        for o in assembled.outputs
    }
    for one in inputs:
        _check_ids(rows[one.name], one.traced.value.bound, f"{path}: {one.name}")
    run = Run(rows, _zeros(assembled, batch), expected, batch, length)
    return prove(assembled, lambda *_: run, [(batch, length)])


def _read(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise GoldenError(f"{path}: cannot be read as an .npz file of arrays: {error}") from error
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise GoldenError(f"{path}: {name}: expected floats or ints, got {array.dtype}")
    return arrays


def _array(arrays: Arrays, name: str, alone: str, number: int, path: Path) -> np.ndarray:
    found = arrays.get(name, arrays.get(alone) if number == 1 else None)
    if found is None:
        raise GoldenError(f"{path}: expected an array {name}, got {', '.join(arrays) or 'none'}")
    return found


def _size(inputs: Sequence[ModuleInput], given: Arrays, role: Role, path: Path) -> int:
    """Of the batch, or the length; where the model takes one row at a time, 1."""
    for one in inputs:
        if role in one.traced.roles:
            if given[one.name].ndim != len(one.traced.roles):
                expected = f"{len(one.traced.roles)} axes ({', '.join(one.traced.roles)})"
                raise GoldenError(f"{path}: {one.name}: expected {expected}, got {list(given[one.name].shape)}")
            return int(given[one.name].shape[one.traced.roles.index(role)])
    return 1


def _rows(array: np.ndarray, traced: Traced, batch: int, length: int, where: str) -> torch.Tensor:
    """[B, T, *features], or [B, *features] of what has no time."""
    features = iter(traced.features)
    known = {Role.BATCH: batch, Role.TIME: length, Role.UNIT: 1}
    known |= dict.fromkeys((Role.BATCH_TIME, Role.TIME_BATCH), batch * length)
    shape = [known[role] if role in known else next(features) for role in traced.roles]
    if list(array.shape) != shape:
        raise GoldenError(f"{where}: expected {shape} ({', '.join(traced.roles)}), got {list(array.shape)}")
    tensor = torch.from_numpy(array.astype(np.int64 if traced.dtype == "int64" else np.float32))
    return read_out(tensor, traced.roles, batch, length, traced.features)


def _check_ids(ids: torch.Tensor, bound: int | None, where: str) -> None:
    if bound is not None and ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < bound:
        raise GoldenError(f"{where}: expected ids in [0, {bound}), got {int(ids.min())} to {int(ids.max())}")


def _zeros(assembled: Assembled, batch: int) -> dict[str, torch.Tensor]:
    shapes = {state.name: state for state in assembled.spec.states}
    return {
        argument: torch.zeros(shapes[name].layers or 1, batch, *shapes[name].features)
        for argument, name in assembled.state_inputs.items()
    }
