"""Fingerprints: whether a bundle on disk is still the one that was loaded; and which folder bears which model."""

import hashlib
import os
import re
from pathlib import Path

from elman_models.bundle import SPEC_FILE, WEIGHTS_FILE, find_bundles, read_any_spec
from elman_models.errors import BundleError
from elman_models.graph.spec import GraphSpec
from elman_models.regular_file import read_regular, regular_file
from elman_models.spec import ModelSpec
from elman_models.spec_file import MAX_SPEC_BYTES
from elman_models.weights import largest_file


def fingerprint(folder: str | os.PathLike[str]) -> str:
    """SHA-256 of a bundle's spec, as it is understood, and of its weights file, byte by byte. Comments in `model.yaml`
    and other files of the folder do not count.

    Raises:
        BundleError: one of the two files cannot be read.
    """
    spec, path = read_any_spec(folder), Path(folder) / WEIGHTS_FILE
    try:
        with regular_file(path, largest_file(spec)) as file:
            digest = hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    # A bundle without a field that is newer than it keeps its fingerprint.
    digest.update(spec.model_dump_json(exclude=None if spec.hand_off else {"hand_off"}).encode())
    return digest.hexdigest()


def read_specs(folder: str | os.PathLike[str]) -> dict[Path, ModelSpec | GraphSpec]:
    """The specs of the bundles in `folder`, by path.

    Raises:
        BundleError: the folder cannot be listed, or a spec in it cannot be read.
    """
    return {path: read_any_spec(path) for path in find_bundles(folder)}


def readable_specs(
    folder: str | os.PathLike[str],
) -> tuple[dict[Path, ModelSpec | GraphSpec], dict[Path, BundleError]]:
    """As `read_specs`; and beside them, by path, why others cannot be read.

    Raises:
        BundleError: the folder cannot be listed.
    """
    specs: dict[Path, ModelSpec | GraphSpec] = {}
    broken: dict[Path, BundleError] = {}
    for path in find_bundles(folder):
        try:
            specs[path] = read_any_spec(path)
        except BundleError as error:
            broken[path] = error
    return specs, broken


def may_be(folder: Path, name: str) -> bool:
    """Whether a bundle whose spec cannot be read may be the model of that name: its folder or a line of its spec says
    so."""
    if folder.name == name:
        return True
    try:
        text = read_regular(folder / SPEC_FILE, MAX_SPEC_BYTES).decode(errors="replace")
    except OSError:
        return False
    return bool(re.search(rf"\bname[\"']?\s*:\s*[\"']?{re.escape(name)}(?![A-Za-z0-9._-])", text))


def check_distinct(specs: dict[Path, ModelSpec | GraphSpec]) -> None:
    """Nothing, where each name and version is borne by one folder.

    Raises:
        BundleError: two folders bear the same; the message names both.
    """
    seen: dict[tuple[str, str], Path] = {}
    for path, spec in specs.items():
        other = seen.setdefault((spec.name, spec.version), path)
        if other is not path:
            raise BundleError(
                f"{other} and {path} are both model {spec.name!r} version {spec.version!r}: give one of them another "
                "name or version in its model.yaml, or take it out of the folder"
            )
