"""`elman-server pack --random`: a bundle of random weights, for trials and load tests."""

import argparse

from elman_server.cli.bundles import pack_file
from elman_server.cli.command import fail, say


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds --random and --seed."""
    text = 'instead of weights: random ones by PyTorch\'s rule, for trials and load tests: "lstm 10 20 --layers 2"'
    parser.add_argument("--random", metavar="MODEL", help=text)
    text = "of --random: the same makes the same weights (default: 0)"
    parser.add_argument("--seed", type=_seed, metavar="N", help=text)


def run(given: argparse.Namespace) -> int:
    """Packs random weights; the exit code."""
    from elman_models import BundleError, describe, write_bundle
    from elman_models.random_model import random_spec, random_weights
    from elman_models.spec import Precision

    for option in (*pack_file.OF_WEIGHTS, "golden", "tolerance"):
        if getattr(given, option) not in (None, []):
            return fail(f"--{option.replace('_', '-')}: is of what was trained; --random makes weights anew", 2)
    seed = 0 if given.seed is None else given.seed
    try:
        spec = random_spec(
            given.random, pack_file.model_name(given), given.version, given.description, Precision(given.precision)
        )
        write_bundle(given.out, spec, random_weights(spec, seed), overwrite=given.overwrite)
    except BundleError as error:
        return fail(str(error))
    say(describe(spec))
    say(f"weights:     random, seed {seed}: for trials and load tests")
    return 0


def _seed(text: str) -> int:
    if not text.isdecimal() or not int(text) < 1 << 63:
        raise argparse.ArgumentTypeError(f"expected an integer, 0 to 2^63 - 1, got {text!r}")
    return int(text)
