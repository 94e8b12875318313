"""What `pack` and `check` share: the options that hold a model against a golden file, and doing so."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

    from elman_models import GraphSpec, ModelSpec


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds --golden and --tolerance."""
    parser.add_argument(
        "--golden",
        type=Path,
        metavar="FILE",
        help="compare with what your module gives: an .npz or .safetensors file with its `input` ([T, B, ...], "
        "[B, T, ...] or [T, ...]) and `output` (of every step, or of the last), perhaps h_n and c_n; of a graph its "
        "inputs, outputs and states by name",
    )
    parser.add_argument(
        "--tolerance",
        type=_tolerance,
        metavar="X",
        help="how far from it is still equal, times max(1, |expected|) (default: 1e-5)",
    )


class Proof(NamedTuple):
    """What came of holding a model against a golden file."""

    line: str
    holds: bool


def prove(given: argparse.Namespace, spec: "ModelSpec | GraphSpec", weights: "dict[str, torch.Tensor]") -> Proof:
    """Holds the model against the golden file, if one is given; without one nothing is contradicted.

    Raises:
        BundleError: the golden file is none of this model, or the weights are not.
    """
    if given.golden is None:
        return Proof("unproven:    what is assumed; --golden FILE compares with what your module gives", holds=True)
    import torch

    from elman_models import GraphSpec, GraphStack, Stack, compare, compare_graph, read_golden
    from elman_models.comparison import TOLERANCE

    tolerance = TOLERANCE if given.tolerance is None else given.tolerance
    device = torch.device("cpu")
    if isinstance(spec, GraphSpec):
        difference = compare_graph(GraphStack(spec, weights, device), given.golden)
    else:
        difference = compare(Stack(spec, weights, device), read_golden(given.golden, spec))
    return Proof(f"golden:      {difference.describe(tolerance)}", difference.largest <= tolerance)


def _tolerance(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number, 0 or more, got {text!r}")
    return number
