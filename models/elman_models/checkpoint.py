"""A checkpoint: the state_dict in a file of somebody's training, opened without running anything in it."""

import os
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from elman_models.errors import WeightsError
from elman_models.weights import read_safetensors

_PICKLES = (".pt", ".pth", ".bin")
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
"""Keys under which training scripts nest the state_dict, beside an optimizer's and the like."""

_GLOBAL = re.compile(r"unsupported (?:global: )?global ([\w.]+)", re.IGNORECASE)


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """The state_dict in `path` (.pt, .pth, .bin or .safetensors), on the CPU, in the file's order.

    A state_dict nested in a checkpoint is taken out of it; the prefixes of DataParallel (`module.`) and torch.compile
    (`_orig_mod.`) are taken off.

    Raises:
        WeightsError: missing, unreadable, of another kind, without tensors, or a pickle that would run code.
    """
    file = Path(path)
    if file.suffix == ".safetensors":
        return strip_prefixes(read_safetensors(file), str(file))
    if file.suffix not in _PICKLES:
        raise WeightsError(f"{file}: expected a .safetensors, {', '.join(_PICKLES)} file")
    return strip_prefixes(_tensors(_unwrap(_load_pickle(file)), str(file)), str(file))


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


def _load_pickle(path: Path) -> object:
    try:
        with warnings.catch_warnings():  # torch warns about TorchScript archives before it refuses them
            warnings.simplefilter("ignore")
            loaded: object = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file") from error
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path}: {_refusal(str(error))}") from error
    except Exception as error:  # a damaged pickle or zip makes torch raise nearly anything
        raise WeightsError(f"{path}: cannot be read as a PyTorch checkpoint: {_first_line(str(error))}") from error
    return loaded


def _refusal(message: str) -> str:
    # torch's own message is not passed on: it advises to open the file with code allowed.
    found = _GLOBAL.search(message)
    holds = f"it holds {found[1]}, and opening it could run code" if found else "it is not a pickle of tensors alone"
    return f"refused, and not run: {holds}; save model.state_dict() instead"


def _unwrap(loaded: object) -> object:
    for _ in _WRAPPERS:  # each may nest the next; no further, since a pickle can make a mapping that holds itself
        if isinstance(loaded, Mapping):
            loaded = next((loaded[key] for key in _WRAPPERS if isinstance(loaded.get(key), Mapping)), loaded)
    return loaded


def _tensors(loaded: object, where: str) -> dict[str, torch.Tensor]:
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{where}: expected a state_dict (a mapping of names to tensors), got {_type(loaded)}")
    others = [f"{key} ({_type(value)})" for key, value in loaded.items() if not _is_named_tensor(key, value)]
    if others:
        raise WeightsError(f"{where}: expected names with tensors only, got also {', '.join(others[:8])}")
    if not loaded:
        raise WeightsError(f"{where}: expected a state_dict, got an empty mapping")
    return {str(name): tensor.detach() for name, tensor in loaded.items()}


def _is_named_tensor(key: object, value: object) -> bool:
    return isinstance(key, str) and isinstance(value, torch.Tensor)


def _type(value: object) -> str:
    return type(value).__name__


def _first_line(message: str) -> str:
    return (message.strip().splitlines() or [""])[0]
