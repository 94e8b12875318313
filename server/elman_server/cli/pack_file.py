"""`elman-server pack` of another framework's file: .onnx, .keras, .h5."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from elman_server.cli.command import fail, say

if TYPE_CHECKING:
    from elman_models import PackedModule

SUFFIXES = (".onnx", ".keras", ".h5", ".hdf5")
"""Of files that are whole models."""
_OF_WEIGHTS = ("key", "nonlinearity", "rnn_key", "embedding_key", "head_key", "leave_out", "golden")
"""Options that say what a state_dict does not."""


def run(given: argparse.Namespace) -> int:
    """Runs it; the exit code."""
    from elman_models import BundleError
    from elman_models.comparison import TOLERANCE

    for option in _OF_WEIGHTS:
        if getattr(given, option, None):
            return fail(f"--{option.replace('_', '-')}: is of a state_dict; {given.weights.name} is a whole model", 2)
    try:
        packed = _pack(given)(
            given.weights,
            out=given.out,
            name=given.out.resolve().name if given.name is None else given.name,
            version=given.version,
            description=given.description,
            precision=given.precision,
            tolerance=TOLERANCE if given.tolerance is None else given.tolerance,
            overwrite=given.overwrite,
            quiet=True,
        )
    except BundleError as error:
        return fail(str(error))
    say(str(packed))
    return 0


def _pack(given: argparse.Namespace) -> "Callable[..., PackedModule]":
    from elman_models import pack_keras, pack_onnx

    return pack_onnx if given.weights.suffix.lower() == ".onnx" else pack_keras
