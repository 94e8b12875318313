"""`elman-server check`: says what a bundle is, or what is wrong with it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from elman_server.commands.command import fail, say

if TYPE_CHECKING:
    from elman_models import ModelSpec
    from elman_server.commands.command import Commands


def add(commands: "Commands") -> None:
    """Adds the command with its options."""
    parser = commands.add_parser("check", help="say what a bundle is, or what is wrong with it")
    parser.add_argument("bundle", type=Path, metavar="DIR", help="a bundle, or a folder of bundles")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Runs it; the exit code."""
    from elman_models import BundleError, describe, find_bundles, read_spec, read_weights

    failed = False
    try:
        bundles = find_bundles(given.bundle)
    except BundleError as error:
        return fail(str(error))
    for bundle in bundles:
        try:
            spec = read_spec(bundle)
            weights = read_weights(bundle, spec)
            say(describe(spec, sum(w.nbytes for w in weights.values())))
            _say_left_out(spec)
        except BundleError as error:
            failed = bool(fail(str(error)))
    return int(failed) if bundles else fail(f"{given.bundle}: no bundle there")


def _say_left_out(spec: "ModelSpec") -> None:
    # On a machine with a CUDA device that one is what serves, unless told otherwise.
    import torch

    from elman_models.plans.left_out import left_out

    if not torch.cuda.is_available():
        for sentence in left_out(spec):
            say(f"{'note:':<13}{sentence}")
