"""A checkpoint: the state_dict in a file of somebody's training, opened without running anything in it."""

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from elman_models.errors import WeightsError
from elman_models.nesting import take_state_dict
from elman_models.torchscript import is_torchscript, read_torchscript
from elman_models.weights import read_safetensors

_PICKLES = (".pt", ".pth", ".bin", ".ckpt")

_GLOBAL = re.compile(r"unsupported (?:global: )?global ([\w.]+)", re.IGNORECASE)

_SAVE = "torch.save(model.state_dict(), 'weights.pt')"


def read_state_dict(path: str | os.PathLike[str], key: str | None = None) -> dict[str, torch.Tensor]:
    """The state_dict in `path` (.pt, .pth, .bin, .ckpt or .safetensors), on the CPU, in the file's order (.safetensors:
    sorted by name).

    A state_dict nested in a checkpoint is taken out of it; the prefixes of DataParallel (`module.`) and torch.compile
    (`_orig_mod.`) are taken off. Of a TorchScript archive it is the module's tensors by their attributes' paths,
    plain attributes that are tensors among them; its code is not looked at.

    Args:
        path: the file.
        key: of the state_dict in a checkpoint that holds several: `ema`, `generator.state_dict`.

    Raises:
        WeightsError: missing, unreadable, of another kind, without tensors, with several state_dicts and no key, or a
            pickle that would run code.
    """
    file = Path(path)
    if file.suffix == ".safetensors":
        if key is not None:
            raise WeightsError(f"{file}: key (--key): a .safetensors file holds one state_dict, without a key")
        return strip_prefixes(read_safetensors(file), str(file))
    if file.suffix not in _PICKLES:
        raise WeightsError(f"{file}: expected a .safetensors, {', '.join(_PICKLES)} file, as of {_SAVE}")
    _check_kind(file)
    loaded = read_torchscript(file) if is_torchscript(file) else _load_pickle(file)
    return strip_prefixes(take_state_dict(loaded, key, str(file)), str(file))


def strip_prefixes(tensors: Mapping[str, torch.Tensor], where: str) -> dict[str, torch.Tensor]:
    """`tensors` without the marks of DataParallel and torch.compile.

    Raises:
        WeightsError: two names become one.
    """
    names = [name.replace("_orig_mod.", "") for name in tensors]  # compile wraps submodules too
    while names and all(name.startswith("module.") for name in names):
        names = [name.removeprefix("module.") for name in names]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise WeightsError(f"{where}: stand twice once prefixes are taken off: {', '.join(twice)}")
    return dict(zip(names, tensors.values(), strict=True))


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
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return "is damaged: a zip archive that cannot be read to its end; copy or save it again"
    if any(re.fullmatch(r"[^/]+/models/[^/]+\.json", name) for name in names):
        return "is a program of torch.export.save, not weights; name it .pt2"
    if not any(name.endswith("/data.pkl") for name in names):
        return f"is a zip archive, but not what torch.save writes; save the weights so: {_SAVE}"
    return None


def _load_pickle(path: Path) -> object:
    try:
        with warnings.catch_warnings():  # torch warns of pickles that it did not write
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
