"""A golden file: an input, and what the module that was trained gives for it."""

import os
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from elman_models import zip_claims
from elman_models.errors import GoldenError, WeightsError
from elman_models.spec import ModelSpec
from elman_models.weights import FLOATS, read_safetensors

_NAMES = ("input", "output", "h_n", "c_n")
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@dataclass(frozen=True)
class Golden:
    """An input and what is to come of it; time and batch stand as in the file."""

    input: torch.Tensor  # [T, *features], [T, B, *features] or [B, T, *features], float32 or int64
    output: torch.Tensor  # the same with [output_size], of every step; or [(B,) output_size], of the last
    h_n: torch.Tensor | None  # [state_layers, (B,) state_size]
    c_n: torch.Tensor | None  # [state_layers, (B,) hidden_size]


def read_golden(path: str | os.PathLike[str], spec: ModelSpec) -> Golden:
    """The golden file `path` (.npz, in which no pickle is opened, or .safetensors) for a model of that spec.

    Its arrays: `input`, [T, B, *features], [B, T, *features] or [T, *features]; `output`, the module's own, of every
    step or of the last alone; if given `h_n`, and of an LSTM `c_n`, as torch has them. Sequences begin at zeros.

    Raises:
        GoldenError: missing, unreadable, or with wrong names, shapes, dtypes or values.
    """
    file = Path(path)
    arrays = read_arrays(file)
    _check_names(arrays, spec, str(file))
    for name, tensor in arrays.items():
        _check_dtype(f"{file}: {name}", tensor, is_ids=name == "input" and spec.embedding is not None)
    _check_input(f"{file}: input", arrays["input"], spec)
    rows = tuple(arrays["input"].shape[: arrays["input"].ndim - len(spec.input_features)])
    _check_output(f"{file}: output", arrays["output"], rows, spec.output_size)
    states = {name: size for name, size in (("h_n", spec.state_size), ("c_n", spec.hidden_size)) if name in arrays}
    for name, size in states.items():
        arrays[name] = _state(f"{file}: {name}", arrays[name], rows, spec.state_layers, size)
    return Golden(arrays["input"], arrays["output"], arrays.get("h_n"), arrays.get("c_n"))


def read_arrays(file: Path) -> dict[str, torch.Tensor]:
    """The arrays of a golden file, of any model.

    Raises:
        GoldenError: missing or unreadable.
    """
    if file.suffix == ".safetensors":
        try:
            return read_safetensors(file)
        except WeightsError as error:
            raise GoldenError(str(error)) from error
    if file.suffix != ".npz":
        raise GoldenError(f"{file}: expected a golden file, .npz (numpy.savez) or .safetensors")
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            if fault := zip_claims.fault(archive.zip, file.stat().st_size):
                raise GoldenError(f"{file}: refused: {fault}; expected what numpy.savez writes, not compressed")
            return {name: _tensor(f"{file}: {name}", archive[name]) for name in archive.files}
    except FileNotFoundError as error:
        raise GoldenError(f"{file}: no such file") from error
    except GoldenError:
        raise
    except Exception as error:  # a damaged archive makes NumPy raise nearly anything
        how = "numpy.savez(file, input=..., output=...)"
        raise GoldenError(f"{file}: cannot be read as .npz of plain arrays, which {how} writes") from error


def _tensor(label: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> torch.Tensor:
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        raise GoldenError(f"{label}: expected numbers, got {array.dtype}")
    if array.dtype.kind == "u":
        array = array.astype(np.int64)
    native = array.astype(array.dtype.newbyteorder("="))
    return torch.from_numpy(np.ascontiguousarray(native).reshape(array.shape))


def _check_names(arrays: Mapping[str, torch.Tensor], spec: ModelSpec, where: str) -> None:
    missing = [name for name in ("input", "output") if name not in arrays]
    known = _NAMES if spec.has_cell_state else _NAMES[:3]
    extra = [name for name in arrays if name not in known]
    if missing or extra:
        raise GoldenError(
            f"{where}: expected input, output and perhaps {' and '.join(known[2:])}, got {', '.join(arrays) or 'none'}"
        )


def _check_dtype(label: str, tensor: torch.Tensor, *, is_ids: bool) -> None:
    expected, words = (_INTEGERS, "integers (token ids)") if is_ids else (FLOATS, "floats")
    if tensor.dtype not in expected:
        raise GoldenError(f"{label}: expected {words}, got {str(tensor.dtype).removeprefix('torch.')}")
    if not bool(torch.isfinite(tensor).all()):
        raise GoldenError(f"{label}: expected finite numbers, got NaN or infinity")


def _check_input(label: str, tensor: torch.Tensor, spec: ModelSpec) -> None:
    features = ", ".join(str(size) for size in spec.input_features)
    shapes = [f"[{', '.join(filter(None, (axes, features)))}]" for axes in ("T, B", "B, T", "T")]
    num_axes = tensor.ndim - len(spec.input_features)
    if num_axes not in (1, 2) or tuple(tensor.shape[num_axes:]) != spec.input_features or not tensor.numel():
        raise GoldenError(f"{label}: expected {', '.join(shapes[:2])} or {shapes[2]}, got {list(tensor.shape)}")
    if spec.embedding and not bool(((tensor >= 0) & (tensor < spec.embedding.num_embeddings)).all()):
        limits = f"ids in [0, {spec.embedding.num_embeddings})"
        raise GoldenError(f"{label}: expected {limits}, got {int(tensor.min())} to {int(tensor.max())}")


def _check_output(label: str, tensor: torch.Tensor, rows: Sequence[int], size: int) -> None:
    every = [*rows, size]
    last = [[size], [1, size]] if len(rows) == 1 else [[rows[1], size], [rows[0], size]]
    if list(tensor.shape) not in (every, *last):
        of_last = " or ".join(dict.fromkeys(map(str, last)))
        raise GoldenError(
            f"{label}: expected {every}, of every step, or of the last alone {of_last}, got {list(tensor.shape)}"
        )


def _state(label: str, tensor: torch.Tensor, rows: Sequence[int], layers: int, size: int) -> torch.Tensor:
    """As [layers, batch, size]; the batch's axis may be missing where there is one row, a cell's layers' axis, too."""
    batches = (1,) if len(rows) == 1 else tuple(rows)
    shapes: list[tuple[int, ...]] = [(layers, batch, size) for batch in reversed(batches)]
    if len(rows) == 1:
        shapes.append((layers, size))
    if layers == 1:
        shapes += [shape[1:] for shape in shapes]
    if tuple(tensor.shape) not in shapes:
        raise GoldenError(f"{label}: expected {list(shapes[0])}, got {reprlib.repr(list(tensor.shape))}")
    return tensor.reshape(layers, -1, size)
