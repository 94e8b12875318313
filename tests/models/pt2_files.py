"""Files of torch.export.save, as torch writes them and altered by hand."""

import json
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

Program = dict[str, Any]


class Tagger(nn.Module):
    """An embedding, a stack and a head; its output in a dict, beside its state."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm, self.head = nn.Embedding(11, 6), nn.LSTM(6, 8, 2, batch_first=True), nn.Linear(8, 3)
        self.register_buffer("scale", torch.tensor(2.25))

    def forward(self, x: torch.Tensor) -> Any:
        y, (h, _) = self.lstm(self.embedding(x))
        return {"logits": self.head(y) * self.scale, "h": h}


def exported(
    module: nn.Module, example: tuple[Any, ...], folder: Path, *, is_open: bool = False, is_taken_apart: bool = False
) -> Path:
    """As `made.pt2`; with `is_open` all axes are open that torch.export leaves open;
    `is_taken_apart`: its operations in smaller ones."""
    shapes = None
    if is_open:
        shapes = torch.utils._pytree.tree_map(
            lambda leaf: dict.fromkeys(range(leaf.dim()), torch.export.Dim.AUTO), example
        )
    path = folder / "made.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module.eval(), example, dynamic_shapes=shapes)
        torch.export.save(program.run_decompositions() if is_taken_apart else program, path)
    return path


@cache
def _tagger() -> bytes:
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as folder:
        return exported(Tagger(), (torch.randint(11, (3, 7)),), Path(folder)).read_bytes()


def tagger(folder: Path) -> Path:
    """A file of a Tagger made after seed 1, of sequences of 7 in a batch of 3."""
    path = folder / "made.pt2"
    path.write_bytes(_tagger())
    return path


def members(path: Path) -> dict[str, bytes]:
    """By name below the archive's folder."""
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def written(path: Path, parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """A file of those members."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(f"made/{name}", data)
    return path


def altered(path: Path, change: Callable[[Program], object], member: str = "models/model.json") -> Path:
    """The file with another JSON."""
    parts = members(path)
    program = json.loads(parts[member])
    change(program)
    return written(path, parts | {member: json.dumps(program).encode()})


def nodes(program: Program) -> list[Program]:
    """Of the graph."""
    found: list[Program] = program["graph_module"]["graph"]["nodes"]
    return found


def node(program: Program, op: str) -> Program:
    """The first of that operation."""
    return next(one for one in nodes(program) if one["target"].startswith(f"torch.ops.aten.{op}."))


def argument(program: Program, op: str, name: str) -> Program:
    """Of the first node of that operation."""
    return next(one for one in node(program, op)["inputs"] if one["name"] == name)
