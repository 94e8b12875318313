"""Files of Keras that were tampered with."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

FIXTURES = Path(__file__).parent / "fixtures" / "keras"
Config = dict[str, Any]


def layer(config: Config, kind: str) -> Config:
    """The first layer of that class."""
    found: Config = next(one for one in config["config"]["layers"] if one["class_name"] == kind)
    return found


def altered(
    name: str,
    folder: Path,
    *,
    config: Callable[[Config], object] | None = None,
    weights: Callable[[h5py.File], object] | None = None,
    parts: Callable[[dict[str, bytes]], object] | None = None,
) -> Path:
    """A copy of a fixture with something else in its config, its weights or its archive."""
    with zipfile.ZipFile(FIXTURES / f"{name}.keras") as archive:
        given = {one: archive.read(one) for one in archive.namelist()}
    if config is not None:
        own = json.loads(given["config.json"])
        config(own)
        given["config.json"] = json.dumps(own).encode()
    if weights is not None:
        data = io.BytesIO(given["model.weights.h5"])
        with h5py.File(data, "r+") as file:
            weights(file)
        given["model.weights.h5"] = data.getvalue()
    if parts is not None:
        parts(given)
    path = folder / "altered.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for one, content in given.items():
            archive.writestr(one, content)
    return path
