"""`elman-server check`: says what a bundle is, or what is wrong with it."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from elman_server.cli.bundles import pictures, proof
from elman_server.cli.command import fail, say

if TYPE_CHECKING:
    import torch

    from elman_models import GraphSpec, ModelSpec
    from elman_server.cli.command import Commands


def add(commands: "Commands") -> None:
    """Adds the command with its options."""
    parser = commands.add_parser(
        "check",
        help="say what a bundle is, or what is wrong with it",
        description="Says what a bundle is, or what is wrong with it; of a folder of bundles, of each.",
    )
    parser.add_argument("bundle", type=Path, metavar="DIR", help="a bundle, or a folder of bundles")
    proof.add_options(parser)
    pictures.add_options(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Runs it; the exit code."""
    from elman_models import BundleError, find_bundles

    if given.tolerance is not None and given.golden is None:
        return fail("--tolerance: is of --golden, which is not given", 2)
    try:
        bundles = find_bundles(given.bundle)
    except BundleError as error:
        return fail(str(error))
    if not bundles:
        say(f"{given.bundle}: no bundles there, so there are no models to serve")  # serve starts all the same
    for option in ("golden", "svg", "mermaid"):
        if getattr(given, option) and len(bundles) != 1:
            return fail(f"--{option}: is of one bundle; {given.bundle} holds {len(bundles)}")
    codes = [_check(given, bundle) for bundle in bundles]
    return max([0, *codes, _check_names(bundles), _check_halves(given.bundle, bundles)])


def _check(given: argparse.Namespace, bundle: Path) -> int:
    from elman_models import BundleError, GraphSpec, describe, describe_graph, read_any_spec, read_graph, read_weights

    try:
        spec = read_any_spec(bundle)
        weights = read_weights(bundle, spec)
        proven = proof.prove(given, spec, weights)
        drawn = pictures.write(given, read_graph(bundle))
    except (BundleError, pictures.PictureError) as error:
        return fail(str(error))
    num_bytes = sum(w.nbytes for w in weights.values())
    if isinstance(spec, GraphSpec):
        say(f"{describe_graph(spec, num_bytes)}\n\n{proven.line}")
    else:
        say(f"{describe(spec, num_bytes)}\n{proven.line}")
    for line in (*drawn, *_left_out(spec, weights)):
        say(line)
    return 0 if proven.holds else fail(f"{bundle}: gives something else than {given.golden}")


def _left_out(spec: "ModelSpec | GraphSpec", weights: "dict[str, torch.Tensor]") -> list[str]:
    """Which plans a model would not have, served on this machine, and why."""
    import torch

    from elman_models import GraphSpec, GraphStack
    from elman_models.graph.left_out import left_out_of_graph
    from elman_models.plans.left_out import left_out
    from elman_models.plans.table import ORT_GRAPH

    if torch.cuda.is_available():
        return []  # that device is what serves, unless told otherwise
    if isinstance(spec, GraphSpec):
        sentences = left_out_of_graph(spec)
        if reason := GraphStack(spec, weights, torch.device("cpu")).ort_graph_left_out:
            sentences.append(f"plan {ORT_GRAPH}, all nodes together in onnxruntime, is left out: {reason}")
    else:
        sentences = left_out(spec)
    return [f"{'note:':<13}{sentence}" for sentence in sentences]


def _check_names(bundles: Sequence[Path]) -> int:
    """Fails where two bundles are of one name and version: only one of them could be served."""
    from elman_models import BundleError, read_any_spec

    folders: dict[tuple[str, str], list[Path]] = {}
    for bundle in bundles:
        try:
            spec = read_any_spec(bundle)
        except BundleError:
            continue  # which has been said
        folders.setdefault((spec.name, spec.version), []).append(bundle)
    twice = {model: found for model, found in folders.items() if len(found) > 1}
    for (name, version), found in twice.items():
        fail(f"model {name}, version {version}, is in {len(found)} folders: {', '.join(map(str, found))}; keep one")
    return int(bool(twice))


def _check_halves(folder: Path, bundles: Sequence[Path]) -> int:
    """Fails where a folder beside the bundles has weights and no spec, so that it would be passed over."""
    from elman_models.bundle import SPEC_FILE, WEIGHTS_FILE

    if bundles in ([folder], [folder.parent]):
        return 0
    halves = [path.parent for path in folder.glob(f"[!.]*/{WEIGHTS_FILE}") if not (path.parent / SPEC_FILE).exists()]
    return max(
        [fail(f"{half}: has {WEIGHTS_FILE}, but no {SPEC_FILE}; it is not served") for half in halves], default=0
    )
