"""`elman-server pack`: makes a bundle from a state_dict."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from elman_server.commands.command import fail, say

if TYPE_CHECKING:
    from elman_server.commands.command import Commands


def add(commands: "Commands") -> None:
    """Adds the command with its options."""
    parser = commands.add_parser("pack", help="make a bundle from a state_dict")
    parser.add_argument("weights", type=Path, help="a state_dict: .pt (no code in it is run) or .safetensors")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the bundle's folder")
    parser.add_argument("--name", help="the model's name (default: the folder's)")
    parser.add_argument("--version", default="1", help="the model's version (default: 1)")
    parser.add_argument("--description", default="", help="one line on what it is")
    text = "float32, bfloat16, float16 or int8: the least that plans may compute with (default: float32)"
    parser.add_argument("--precision", default="float32", help=text)
    parser.add_argument("--nonlinearity", choices=("tanh", "relu"), help="of a plain RNN; its weights do not tell")
    parser.add_argument("--rnn-key", help="the stack's prefix in the state_dict, if there are several")
    parser.add_argument("--embedding-key", help="the embedding's prefix in the state_dict; none: there is none")
    parser.add_argument("--head-key", help="the head's prefix in the state_dict; none: there is none")
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Runs it; the exit code."""
    from elman_models import BundleError, describe, infer_spec, read_state_dict, write_bundle

    try:
        spec, weights = infer_spec(
            read_state_dict(given.weights),
            name=given.name or given.out.resolve().name,
            version=given.version,
            description=given.description,
            precision=given.precision,
            nonlinearity=given.nonlinearity,
            rnn_key=given.rnn_key,
            embedding_key=given.embedding_key,
            head_key=given.head_key,
        )
        write_bundle(given.out, spec, weights, overwrite=given.overwrite)
    except BundleError as error:
        return fail(str(error))
    say(describe(spec, sum(w.nbytes for w in weights.values())))
    return 0
