"""Recurrent PyTorch models for elman: bundles on disk, the stack that runs them, the pool of states.

Names are imported when first used, so that `elman_models.layout` and `elman_models.errors` come without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elman_models.bundle import find_bundles, load, read_spec, read_weights, write_bundle
    from elman_models.check import describe
    from elman_models.errors import BundleError, SpecError, WeightsError
    from elman_models.layout import batch_sizes
    from elman_models.pack import infer_spec, read_state_dict
    from elman_models.packed import Packed
    from elman_models.spec import Cell, EmbeddingSpec, HeadSpec, ModelSpec
    from elman_models.stack import Stack
    from elman_models.state import State, StatePool

_MODULES = {
    "bundle": ("find_bundles", "load", "read_spec", "read_weights", "write_bundle"),
    "check": ("describe",),
    "errors": ("BundleError", "SpecError", "WeightsError"),
    "layout": ("batch_sizes",),
    "pack": ("infer_spec", "read_state_dict"),
    "packed": ("Packed",),
    "spec": ("Cell", "EmbeddingSpec", "HeadSpec", "ModelSpec"),
    "stack": ("Stack",),
    "state": ("State", "StatePool"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "BundleError",
    "Cell",
    "EmbeddingSpec",
    "HeadSpec",
    "ModelSpec",
    "Packed",
    "SpecError",
    "Stack",
    "State",
    "StatePool",
    "WeightsError",
    "batch_sizes",
    "describe",
    "find_bundles",
    "infer_spec",
    "load",
    "read_spec",
    "read_state_dict",
    "read_weights",
    "write_bundle",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
