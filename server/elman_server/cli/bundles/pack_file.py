"""`elman-server pack` of a file that is a whole model: .onnx, .keras, .h5, .pt2."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from elman_server.cli.command import fail, say

if TYPE_CHECKING:
    from elman_models import PackedModule

SUFFIXES = (".onnx", ".keras", ".h5", ".hdf5", ".pt2")
"""Of files that are whole models."""
OF_WEIGHTS = ("key", "nonlinearity", "rnn_key", "embedding_key", "head_key", "leave_out", "activation")
"""Options that say what a state_dict does not."""


def run(given: argparse.Namespace) -> int:
    """Runs it; the exit code."""
    from elman_models import BundleError
    from elman_models.comparison import TOLERANCE

    for option in OF_WEIGHTS:
        if getattr(given, option, None):
            return fail(f"--{option.replace('_', '-')}: is of a state_dict; {given.weights.name} is a whole model", 2)
    try:
        packed = _pack(given)(
            given.weights,
            out=given.out,
            name=model_name(given),
            version=given.version,
            description=given.description,
            precision=given.precision,
            golden=given.golden,
            tolerance=TOLERANCE if given.tolerance is None else given.tolerance,
            overwrite=given.overwrite,
            quiet=True,
        )
    except BundleError as error:
        return fail(str(error))
    say(str(packed))
    return 0


def model_name(given: argparse.Namespace) -> str:
    """The one that is asked for, or the folder's.

    Raises:
        SpecError: the folder's name cannot be a model's.
    """
    from elman_models import SpecError
    from elman_models.spec import NAME_IN_WORDS, is_name

    folder = given.out.resolve().name
    if given.name is None and not is_name(folder):
        raise SpecError(
            f"the folder's name, {folder!r}, cannot be the model's; give another with --name: {NAME_IN_WORDS}"
        )
    return folder if given.name is None else str(given.name)


def _pack(given: argparse.Namespace) -> "Callable[..., PackedModule]":
    from elman_models import pack_keras, pack_onnx, pack_pt2

    ways: dict[str, Callable[..., PackedModule]] = {".onnx": pack_onnx, ".pt2": pack_pt2}
    return ways.get(given.weights.suffix.lower(), pack_keras)
