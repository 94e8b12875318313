"""Kept figures: where a command writes what it measured, if nobody says where."""

import re
from pathlib import Path

import torch

from elman_models.plans.cache import machine

RESULTS = Path(__file__).parent / "results"


def kept_path(kind: str, device: torch.device, precision: str) -> Path:
    """A file of its own for each machine and precision."""
    parts = [kind, machine(device), *([] if precision == "float32" else [precision])]
    return RESULTS / f"{'-'.join(map(_slug, parts))}.json"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
