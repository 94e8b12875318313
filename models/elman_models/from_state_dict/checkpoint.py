"""A checkpoint: the state_dict in a file of somebody's training, opened without running anything in it."""

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from elman_models import zip_claims
from elman_models.errors import WeightsError
from elman_models.from_state_dict.hyper_parameters import STAND_INS, HyperParameters, read_hyper_parameters
from elman_models.from_state_dict.nesting import take_state_dict
from elman_models.from_state_dict.torchscript import is_torchscript, read_torchscript
from elman_models.weights import read_safetensors

_MIN_NUMBERS = 1 << 16
"""Fewer of a tensor may be the same one in the file."""
_PICKLES = (".pt", ".pth", ".bin", ".ckpt")

_GLOBAL = re.compile(r"unsupported (?:global: )?global ([\w.]+)", re.IGNORECASE)

_SAVE = "torch.save(model.state_dict(), 'weights.pt')"


@dataclass(frozen=True)
class Checkpoint:
    """What of a file is a model's."""

    state_dict: dict[str, torch.Tensor]
    hyper_parameters: HyperParameters = field(default_factory=dict)
    """Of a checkpoint of Lightning: what it was trained with, as far as that is numbers and texts."""
    key: str = ""
    """Where the state_dict was; empty: it is the file."""
    beside: tuple[str, ...] = ()
    """The file's other keys."""


def read_state_dict(path: str | os.PathLike[str], key: str | None = None) -> dict[str, torch.Tensor]:
    """The state_dict in `path`: that of `read_checkpoint`.

    Raises:
        WeightsError: as `read_checkpoint`.
    """
    return read_checkpoint(path, key).state_dict


def read_checkpoint(path: str | os.PathLike[str], key: str | None = None) -> Checkpoint:
    """The state_dict in `path` (.pt, .pth, .bin, .ckpt or .safetensors), on the CPU, in the file's order (.safetensors:
    sorted by name), and what Lightning says of the training.

    A state_dict nested in a checkpoint is taken out of it; the prefixes of DataParallel and DistributedDataParallel
    (`module.`), of torch.compile (`_orig_mod.`) and of torch's averaged models (`module.` beside `n_averaged`) are
    taken off. Of a TorchScript archive it is the module's tensors by their attributes' paths, plain attributes that are
    tensors among them; its code is not looked at.

    Args:
        path: the file.
        key: of the state_dict in a checkpoint that holds several (`ema`, `generator.state_dict`), or the attribute
            within one state_dict that is the model (`ema_model`).

    Raises:
        WeightsError: missing, unreadable, of another kind, without tensors, with several state_dicts and no key, or a
            pickle that would run code.
    """
    file = Path(path)
    if file.suffix == ".safetensors":
        return _only_state_dict(read_safetensors(file), key, str(file))
    if file.suffix not in _PICKLES:
        raise WeightsError(f"{file}: expected a .safetensors, {', '.join(_PICKLES)} file, as of {_SAVE}")
    _check_kind(file)
    loaded = read_torchscript(file) if is_torchscript(file) else _load_pickle(file)
    taken_from, taken = take_state_dict(loaded, key, str(file))
    for name, tensor in taken.items():
        _check_stored(f"{file}: {name}", tensor)
    state_dict = strip_prefixes(taken, str(file))
    return Checkpoint(state_dict, read_hyper_parameters(loaded), taken_from, _beside(loaded, taken_from))


def _check_stored(label: str, tensor: torch.Tensor) -> None:
    """Raises WeightsError where many numbers are made of the few that the file has, as by `expand`."""
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.numel() < _MIN_NUMBERS:
        return
    stored = tensor.untyped_storage().nbytes() // tensor.itemsize
    if tensor.numel() > stored:
        raise WeightsError(f"{label}: {tensor.numel()} numbers of {stored} that the file has")


def _beside(loaded: object, key: str) -> tuple[str, ...]:
    if not key or not isinstance(loaded, Mapping):
        return ()
    others = (name for name in loaded if isinstance(name, str) and name != key)
    return tuple(name for name in others if not name.startswith(f"{key}.") and not key.startswith(f"{name}."))


def _only_state_dict(tensors: dict[str, torch.Tensor], key: str | None, where: str) -> Checkpoint:
    """Of a file that holds one: all of it, or the part of that key."""
    if key is None:
        return Checkpoint(strip_prefixes(tensors, where))
    if not any(name.startswith(f"{key}.") for name in tensors):
        raise WeightsError(f"{where}: key (--key): a .safetensors file holds one state_dict, without a key")
    taken_from, taken = take_state_dict(tensors, key, where)
    return Checkpoint(strip_prefixes(taken, where), key=taken_from, beside=_beside(tensors, taken_from))


def strip_prefixes(tensors: Mapping[str, torch.Tensor], where: str) -> dict[str, torch.Tensor]:
    """`tensors` without the marks of DataParallel, torch.compile and averaged models.

    Raises:
        WeightsError: two names become one.
    """
    kept = {name: tensor for name, tensor in tensors.items() if not _counts_averages(name, tensors)}
    names = [name.replace("_orig_mod.", "") for name in kept]  # compile wraps submodules too
    while names and all(name.startswith("module.") for name in names):
        names = [name.removeprefix("module.") for name in names]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise WeightsError(f"{where}: stand twice once prefixes are taken off: {', '.join(twice)}")
    return dict(zip(names, kept.values(), strict=True))


def _counts_averages(name: str, tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether it is the counter of torch.optim.swa_utils.AveragedModel, whose model is under `module`."""
    is_counter = name.rpartition(".")[2] == "n_averaged" and not tensors[name].ndim
    prefix = name.removesuffix("n_averaged") + "module."
    return is_counter and all(other == name or other.startswith(prefix) for other in tensors)


def _check_kind(path: Path) -> None:
    """Raises:
    WeightsError: it is not there, or is plainly something else than what torch.save writes."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file") from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error
    kind = _other_kind(start) or (_other_archive(path) if start.startswith(b"PK") else None)
    if kind:
        raise WeightsError(f"{path}: {kind}")


def _other_kind(start: bytes) -> str | None:
    if not start:
        return f"is empty; save the weights again: {_SAVE}"
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the file itself; `git lfs pull` brings it"
    if start[8:9] == b"{":
        return "is a safetensors file; name it .safetensors"
    if start.startswith(b"\x89HDF"):
        return "is an HDF5 file, as Keras writes; expected what torch.save writes"
    if not start.startswith((b"PK", b"\x80", b"(", b"}", b"c")):  # zip; pickle, by protocol
        return f"is not what torch.save writes, neither a zip archive nor a pickle; save the weights so: {_SAVE}"
    return None


def _other_archive(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names, fault = archive.namelist(), zip_claims.fault(archive, path.stat().st_size)
    except (OSError, ValueError, zipfile.BadZipFile):
        return "is damaged: a zip archive that cannot be read to its end; copy or save it again"
    if any(re.fullmatch(r"[^/]+/models/[^/]+\.json", name) for name in names):
        return "is a program of torch.export.save, not weights; name it .pt2"
    if not any(name.endswith("/data.pkl") for name in names):
        return f"is a zip archive, but not what torch.save writes; save the weights so: {_SAVE}"
    return f"refused: {fault}" if fault else None


def _load_pickle(path: Path) -> object:
    try:
        # torch warns of pickles that it did not write.
        with warnings.catch_warnings(), torch.serialization.safe_globals(STAND_INS):
            warnings.simplefilter("ignore")
            loaded: object = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path}: {_refusal(str(error))}") from error
    except Exception as error:  # a damaged pickle or zip makes torch raise nearly anything
        raise WeightsError(f"{path}: cannot be read as a PyTorch checkpoint: {_reason(error)}") from error
    return loaded


def _refusal(message: str) -> str:
    # torch's own message is not passed on: it advises to open the file with code allowed.
    found = _GLOBAL.search(message)
    holds = f"it holds {found[1]}, and opening it could run code" if found else "it is not a pickle of tensors alone"
    return f"refused, and not run: {holds}; save the weights alone: {_SAVE}"


def _reason(error: Exception) -> str:
    """A line, which is never advice to open the file with code allowed."""
    line = (str(error).strip().splitlines() or [""])[0]
    return "it is damaged" if not line or "weights_only" in line else f"{line} ({type(error).__name__})"
