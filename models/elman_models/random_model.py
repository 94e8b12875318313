"""Models with random weights, for trials and load tests: made by PyTorch's rule, from a seed."""

import argparse
import math
import shlex
from typing import NoReturn

import torch

from elman_models.errors import SpecError
from elman_models.graph.inference import MAX_WEIGHTS_BYTES
from elman_models.spec import ModelSpec, Precision
from elman_models.spec_file import make_spec

GRAMMAR = (
    "rnn|lstm|gru INPUT_SIZE HIDDEN_SIZE [--layers N] [--bidirectional] [--proj N] [--no-bias] [--nonlinearity relu] "
    "[--embedding NUM] [--head N]"
)
"""With --embedding INPUT_SIZE is that of the vectors, and the input is ids below NUM."""


def random_spec(
    text: str,
    name: str,
    version: str = "1",
    description: str = "",
    precision: Precision = Precision.FLOAT32,
) -> ModelSpec:
    """The spec that `text` describes, such as "lstm 10 20 --layers 2"; see GRAMMAR.

    Raises:
        SpecError: it describes none.
    """
    given = _parser().parse_args(_words(text))
    if given.cell != "rnn" and given.nonlinearity:
        raise SpecError(f"--random {text!r}: --nonlinearity is of an rnn")
    fields = {
        "name": name,
        "version": version,
        "description": description,
        "precision": precision,
        "cell": given.cell if given.cell != "rnn" else f"rnn_{given.nonlinearity or 'tanh'}",
        "input_size": given.input_size,
        "hidden_size": given.hidden_size,
        "num_layers": given.layers,
        "bias": not given.no_bias,
        "bidirectional": given.bidirectional,
        "proj_size": given.proj,
    }
    if given.embedding is not None:
        fields["embedding"] = {"num_embeddings": given.embedding, "embedding_dim": given.input_size}
    if given.head is not None:
        fields["head"] = {"out_features": given.head}
    return make_spec(fields, f"--random {text!r}")


def random_weights(spec: ModelSpec, seed: int) -> dict[str, torch.Tensor]:
    """float32 tensors by the names of `spec.parameter_shapes()`, the same for the same seed, 0 to 2^63 - 1.

    The stack's are U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)), as `torch.nn.RNN`, `LSTM` and `GRU` begin; the head's
    U(-1/sqrt(in_features), 1/sqrt(in_features)), as `torch.nn.Linear`; the embedding's N(0, 1), as
    `torch.nn.Embedding`.

    Raises:
        SpecError: they are larger than what a trial is made of.
    """
    num_bytes = sum(4 * math.prod(shape) for shape in spec.parameter_shapes().values())
    if num_bytes > MAX_WEIGHTS_BYTES:
        raise SpecError(f"--random: expected at most {MAX_WEIGHTS_BYTES:,} bytes of weights, got {num_bytes:,}")
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in spec.parameter_shapes().items():
        if name.startswith("embedding."):
            weights[name] = torch.randn(shape, generator=generator)
        else:
            bound = 1 / math.sqrt(spec.stack_output_size if name.startswith("head.") else spec.hidden_size)
            weights[name] = torch.empty(shape).uniform_(-bound, bound, generator=generator)
    return weights


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SpecError(f"--random: expected {GRAMMAR}: {message}")


def _parser() -> _Parser:
    parser = _Parser(prog="--random", add_help=False, allow_abbrev=False)
    parser.add_argument("cell", choices=("rnn", "lstm", "gru"))
    parser.add_argument("input_size", type=int)
    parser.add_argument("hidden_size", type=int)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--bidirectional", action="store_true")
    parser.add_argument("--proj", type=int, default=0)
    parser.add_argument("--no-bias", action="store_true")
    parser.add_argument("--nonlinearity", choices=("tanh", "relu"))
    parser.add_argument("--embedding", type=int)
    parser.add_argument("--head", type=int)
    return parser


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:  # an open quote
        raise SpecError(f"--random: expected {GRAMMAR}: {error}") from error
