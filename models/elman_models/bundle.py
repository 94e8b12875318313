"""A bundle: a model on disk, a folder with `model.yaml` and `weights.safetensors`."""

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from elman_models.errors import BundleError, SpecError
from elman_models.graph.from_stack import graph_of
from elman_models.graph.spec import GraphSpec
from elman_models.graph.stack import GraphStack
from elman_models.graph.weights import as_tensors
from elman_models.regular_file import read_regular
from elman_models.spec import ModelSpec
from elman_models.spec_file import MAX_SPEC_BYTES, dump_spec, parse_any_spec, parse_spec
from elman_models.stack import Stack
from elman_models.weights import as_float32, largest_file, read_safetensors, write_safetensors

SPEC_FILE = "model.yaml"
WEIGHTS_FILE = "weights.safetensors"


def find_bundles(folder: str | os.PathLike[str]) -> list[Path]:
    """The bundles in `folder`, by name; `folder` itself where it is one, and the one around it where it is a bundle's
    file. Hidden folders are passed over: Kubernetes puts its volumes' versions there, and `write_bundle` what is not
    finished.

    Raises:
        BundleError: no such folder, another file, a folder that cannot be listed, or one with weights and no spec.
    """
    root = Path(folder)
    if root.name in (SPEC_FILE, WEIGHTS_FILE) and root.is_file():
        root = root.parent  # who points at the file means the bundle
    if root.is_file():
        raise BundleError(f"{root}: is a file; expected a bundle (a folder with {SPEC_FILE}) or a folder of bundles")
    try:
        if (root / SPEC_FILE).exists():
            return [root]
        paths = sorted(path for path in root.iterdir() if not path.name.startswith("."))
        bundles = [path for path in paths if (path / SPEC_FILE).exists()]
        if not bundles:
            _check_no_half(root, paths)
        return bundles
    except OSError as error:
        raise BundleError(f"{root}: cannot be listed: {error.strerror}") from error


def _check_no_half(folder: Path, paths: Sequence[Path]) -> None:
    """Whether a folder without a spec looks like a bundle all the same."""
    for path in paths:
        if path.name == WEIGHTS_FILE or path.name.lower() in ("model.yaml", "model.yml"):
            raise BundleError(f"{folder}: has {path.name}, but no {SPEC_FILE}; a bundle has that and {WEIGHTS_FILE}")


def read_spec(folder: str | os.PathLike[str]) -> ModelSpec:
    """The spec of the bundle `folder`, which is of format 1.

    Raises:
        SpecError: `model.yaml` is missing, unreadable or invalid; one line per wrong field. Or it is of format 2.
    """
    return parse_spec(*_read_text(folder))


def read_any_spec(folder: str | os.PathLike[str]) -> ModelSpec | GraphSpec:
    """The spec of the bundle `folder`, of whichever format.

    Raises:
        SpecError: `model.yaml` is missing, unreadable or invalid.
    """
    return parse_any_spec(*_read_text(folder))


def read_graph(folder: str | os.PathLike[str]) -> GraphSpec:
    """The graph of the bundle `folder`; of format 1 that of embedding, stack and head.

    Raises:
        SpecError: as `read_any_spec`.
    """
    spec = read_any_spec(folder)
    return graph_of(spec) if isinstance(spec, ModelSpec) else spec


def _read_text(folder: str | os.PathLike[str]) -> tuple[bytes, str]:
    path = Path(folder) / SPEC_FILE
    try:
        return read_regular(path, MAX_SPEC_BYTES), str(path)
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from error


def read_weights(folder: str | os.PathLike[str], spec: ModelSpec | GraphSpec) -> dict[str, torch.Tensor]:
    """The bundle's weights by the names of `spec.parameter_shapes`: float32 (a graph's constants may be int64), finite,
    on the CPU.

    Raises:
        WeightsError: `weights.safetensors` is missing, truncated or corrupt, larger than the spec's tensors, or holds
            others.
    """
    path = Path(folder) / WEIGHTS_FILE
    return _held_against(spec, read_safetensors(path, largest_file(spec)), str(path))


def _held_against(
    spec: ModelSpec | GraphSpec, weights: Mapping[str, torch.Tensor], where: str
) -> dict[str, torch.Tensor]:
    return as_tensors(spec, weights, where) if isinstance(spec, GraphSpec) else as_float32(spec, weights, where)


def load(folder: str | os.PathLike[str], device: torch.device) -> Stack:
    """The bundle's model on `device`, ready to run. Nothing is allocated before the files are proven to agree.

    Raises:
        SpecError, WeightsError: as `read_spec` and `read_weights`.
    """
    spec = read_spec(folder)
    return Stack(spec, read_weights(folder, spec), device)


def load_any(folder: str | os.PathLike[str], device: torch.device) -> Stack | GraphStack:
    """As `load`, of either format, each as what it is.

    Raises:
        SpecError, WeightsError: as `read_any_spec` and `read_weights`.
    """
    spec = read_any_spec(folder)
    weights = read_weights(folder, spec)
    return GraphStack(spec, weights, device) if isinstance(spec, GraphSpec) else Stack(spec, weights, device)


def load_graph(folder: str | os.PathLike[str], device: torch.device) -> GraphStack:
    """As `load`, of whichever format: what is of format 1 runs as a graph, too.

    Raises:
        SpecError, WeightsError: as `read_graph` and `read_weights`.
    """
    spec = read_graph(folder)
    return GraphStack(spec, read_weights(folder, spec), device)


def write_bundle(
    folder: str | os.PathLike[str],
    spec: ModelSpec | GraphSpec,
    weights: Mapping[str, torch.Tensor],
    *,
    overwrite: bool = False,
) -> Path:
    """Writes a bundle: whole or not at all, under another name first. Weights keep their dtypes.

    Args:
        folder: new or empty; with `overwrite` also a bundle, whose other files (a model card) stay.
        spec: the model; a graph is written as format 2.
        weights: by the names of `spec.parameter_shapes()`; float32, float16, bfloat16 or float64, finite.
        overwrite: replace a bundle that is there.

    Raises:
        WeightsError: the weights are not the spec's.
        BundleError: `folder` is in use, or cannot be written.
    """
    target = Path(folder).resolve()
    check_target(target, overwrite)
    _held_against(spec, weights, "weights")
    draft = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        _write_draft(draft, target, spec, weights)
        _swap(draft, target)
    except OSError as error:
        raise BundleError(f"{target}: cannot be written: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def check_target(target: Path, overwrite: bool) -> None:
    """Whether a bundle may be written to `target`.

    Raises:
        BundleError: it is a file, or a folder in use, other than a bundle that is to be overwritten.
    """
    if target.exists() and not target.is_dir():
        raise BundleError(f"{target}: is a file, not a folder")
    if not target.exists() or not any(target.iterdir()):
        return
    if not (target / SPEC_FILE).exists():
        raise BundleError(
            f"{target}: is not empty, and is not a bundle, so it is not overwritten; choose another folder"
        )
    if not overwrite:
        raise BundleError(f"{target}: is not empty but a bundle; choose another folder, or overwrite it (--overwrite)")


def _write_draft(draft: Path, target: Path, spec: ModelSpec | GraphSpec, weights: Mapping[str, torch.Tensor]) -> None:
    draft.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.copytree(target, draft, symlinks=True, ignore=shutil.ignore_patterns(SPEC_FILE, WEIGHTS_FILE))
    else:
        draft.mkdir()
    (draft / SPEC_FILE).write_bytes(dump_spec(spec))
    write_safetensors(draft / WEIGHTS_FILE, weights)
    for name in (SPEC_FILE, WEIGHTS_FILE):  # or a power cut after the rename leaves empty files
        with (draft / name).open("rb") as file:
            os.fsync(file.fileno())


def _swap(draft: Path, target: Path) -> None:
    """Puts `draft` in `target`'s place; a bundle that was there is moved aside first and comes back on failure."""
    old = target.with_name(f"{draft.name}.old")
    if target.exists():
        target.rename(old)
    try:
        draft.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
