"""`elman-server pack`: makes a bundle from a state_dict."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from elman_server.cli import pack_file, pack_random, proof
from elman_server.cli.command import fail, say

if TYPE_CHECKING:
    from elman_models import Inferred
    from elman_server.cli.command import Commands

_PRECISIONS = ("float32", "bfloat16", "float16", "int8")


def add(commands: "Commands") -> None:
    """Adds the command with its options."""
    parser = commands.add_parser(
        "pack",
        help="make a bundle from a state_dict, or from a file of ONNX, Keras or torch.export",
        description="Makes a bundle from a state_dict, where that can be one model alone; else says what is open.",
    )
    files = ".pt, .pth, .bin, .ckpt (no code in it is run) or .safetensors"
    models = f"{', '.join(pack_file.SUFFIXES)} (of ONNX, Keras, torch.export.save; what is in it is not run)"
    text = f"a state_dict: {files}; or a model: {models}"
    parser.add_argument("weights", type=Path, nargs="?", metavar="WEIGHTS", help=text)
    pack_random.add_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the bundle's folder")
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")
    parser.add_argument("--name", metavar="NAME", help="the model's name (default: the folder's)")
    parser.add_argument("--version", default="1", metavar="VERSION", help="the model's version (default: 1)")
    parser.add_argument("--description", default="", metavar="TEXT", help="what it is")
    text = f"the least that plans may compute with: {', '.join(_PRECISIONS)} (default: float32)"
    parser.add_argument("--precision", default="float32", choices=_PRECISIONS, metavar="PRECISION", help=text)
    _add_parts(parser)
    proof.add_options(parser)
    parser.set_defaults(run=run)


def _add_parts(parser: argparse.ArgumentParser) -> None:
    parts = parser.add_argument_group(
        "what weights do not tell",
        "NAME is an attribute of your module, as the state_dict's names begin: encoder.rnn of encoder.rnn.weight_ih_l0",
    )
    text = "the state_dict's key in a checkpoint that holds several (ema)"
    parts.add_argument("--key", metavar="KEY", help=text)
    text = "of a plain RNN: tanh or relu"
    parts.add_argument("--nonlinearity", choices=("tanh", "relu"), metavar="FUNCTION", help=text)
    parts.add_argument("--rnn-key", metavar="NAME", help="the recurrent stack; others must be left out by name")
    parts.add_argument("--embedding-key", metavar="NAME", help="the embedding; none: there is none")
    parts.add_argument("--head-key", metavar="NAME", help="the linear layer after the stack; none: there is none")
    text = "a part that the bundle does without; may be given several times, and nothing else is left out"
    parts.add_argument("--leave-out", action="append", default=[], metavar="NAME", help=text)


def run(given: argparse.Namespace) -> int:
    """Runs it; the exit code."""
    from elman_models import BundleError, describe, write_bundle
    from elman_models.bundle import check_target

    if (given.weights is None) == (given.random is None):
        return fail("expected WEIGHTS or --random, one of the two", 2)
    if given.random is not None:
        return pack_random.run(given)
    if given.seed is not None:
        return fail("--seed: is of --random, which is not given", 2)
    if given.weights.suffix.lower() in pack_file.SUFFIXES:
        return pack_file.run(given)
    if given.tolerance is not None and given.golden is None:
        return fail("--tolerance: is of --golden, which is not given", 2)
    try:
        check_target(given.out.resolve(), given.overwrite)
        inferred = _infer(given)
        proven = proof.prove(given, inferred.spec, inferred.weights)
        if proven.holds:
            write_bundle(given.out, inferred.spec, inferred.weights, overwrite=given.overwrite)
    except BundleError as error:
        return fail(str(error))
    say(describe(inferred.spec, sum(4 * w.numel() for w in inferred.weights.values())))
    say(f"found as:    {', '.join(f'{part} {name}' for part, name in inferred.attributes.items())}")
    if inferred.left_out:
        say(f"left out:    {', '.join(inferred.left_out)}")
    say(proven.line)
    return 0 if proven.holds else fail(f"{given.golden}: the model gives something else, so no bundle is written")


def _infer(given: argparse.Namespace) -> "Inferred":
    from elman_models import PackOptions, infer_model, read_state_dict

    options = PackOptions(
        name=pack_file.model_name(given),
        version=given.version,
        description=given.description,
        precision=given.precision,
        nonlinearity=given.nonlinearity,
        rnn_key=given.rnn_key,
        embedding_key=given.embedding_key,
        head_key=given.head_key,
        leave_out=given.leave_out,
    )
    return infer_model(read_state_dict(given.weights, given.key), options)
