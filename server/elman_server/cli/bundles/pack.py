"""`elman-server pack`: makes a bundle from a state_dict."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from elman_server.cli.bundles import pack_file, pack_random, proof
from elman_server.cli.command import fail, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elman_models import Inferred
    from elman_models.from_state_dict.checkpoint import Checkpoint
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
    text = "the state_dict's key in a checkpoint that holds several (ema), or the part of it that is the model"
    parts.add_argument("--key", metavar="KEY", help=text)
    text = "of a plain RNN: tanh or relu"
    parts.add_argument("--nonlinearity", choices=("tanh", "relu"), metavar="FUNCTION", help=text)
    text = "the recurrent stack, or the ModuleList of cells that are stacked; others must be left out by name"
    parts.add_argument("--rnn-key", metavar="NAME", help=text)
    parts.add_argument("--embedding-key", metavar="NAME", help="the embedding; none: there is none")
    parts.add_argument(
        "--head-key", metavar="NAME", help="the (last) linear layer after the stack; none: there is none"
    )
    text = (
        "what stands between several linear layers after the stack, which then run one after another as the file has "
        "them: relu, tanh, gelu and so on, or none"
    )
    parts.add_argument("--activation", metavar="FUNCTION", help=text)
    text = "a part that the bundle does without; may be given several times, and nothing else is left out"
    parts.add_argument("--leave-out", action="append", default=[], metavar="NAME", help=text)


def run(given: argparse.Namespace) -> int:
    """Runs it; the exit code."""
    from elman_models import BundleError, write_bundle
    from elman_models.bundle import check_target
    from elman_models.from_state_dict.checkpoint import read_checkpoint

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
        checkpoint = read_checkpoint(given.weights, given.key)
        inferred = _infer(given, checkpoint)
        proven = proof.prove(given, inferred.spec, inferred.weights)
        if proven.holds:
            write_bundle(given.out, inferred.spec, inferred.weights, overwrite=given.overwrite)
    except BundleError as error:
        return fail(str(error))
    for line in (*_told(inferred, checkpoint), proven.line):
        say(line)
    return 0 if proven.holds else fail(f"{given.golden}: the model gives something else, so no bundle is written")


def _told(inferred: "Inferred", checkpoint: "Checkpoint") -> "Iterator[str]":
    """What was made of the state_dict, and what is assumed."""
    from elman_models import GraphSpec, assumptions, describe, describe_graph
    from elman_models.from_state_dict.hyper_parameters import in_words

    spec, num_bytes = inferred.spec, sum(4 * w.numel() for w in inferred.weights.values())
    if isinstance(spec, GraphSpec):
        yield f"{describe_graph(spec, num_bytes)}\n"
        told: list[str] = []
    else:
        yield describe(spec, num_bytes)
        told = assumptions(spec)
    yield from (f"assumed:     {line}" for line in inferred.assumed if line not in told)
    yield f"found as:    {', '.join(f'{part} {name}' for part, name in inferred.attributes.items())}"
    if checkpoint.key:
        beside = ", ".join(key for key in checkpoint.beside[:16] if key.isprintable())
        yield f"read from:   {checkpoint.key}{f', beside {beside}' if beside else ''}"
    if checkpoint.hyper_parameters:
        yield f"trained as:  {in_words(checkpoint.hyper_parameters)} (the checkpoint's hyper_parameters)"
    if inferred.left_out:
        yield f"left out:    {', '.join(inferred.left_out)}"


def _infer(given: argparse.Namespace, checkpoint: "Checkpoint") -> "Inferred":
    from elman_models import PackOptions, WeightsError, infer_model
    from elman_models.from_state_dict.hyper_parameters import in_words

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
        activation=given.activation,
        hyper_parameters=checkpoint.hyper_parameters,
    )
    try:
        return infer_model(checkpoint.state_dict, options)
    except WeightsError as error:
        told = in_words(checkpoint.hyper_parameters)
        raise WeightsError(f"{error}. The checkpoint's hyper_parameters: {told}" if told else str(error)) from error
