"""Why a module cannot be packed: the line of its author's code, the operation, and what to do instead."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.fx import Node

from elman_models.errors import BundleError

_TORCH = os.path.dirname(torch.__file__)
_HERE = os.path.dirname(os.path.dirname(__file__))


class ExportError(BundleError):
    """A module that cannot be packed; the message names the line of its author's code, and what to do instead."""


class NeedsWhole(Exception):
    """A streaming graph cannot hold this; one that is run on whole sequences perhaps can."""

    def __init__(self, reason: str, place: "Place") -> None:
        super().__init__(reason)
        self.reason = reason
        self.place = place


@dataclass(frozen=True)
class Place:
    """A line of the author's code; or the part of a file that a module was read from."""

    file: str = ""
    line: str = ""
    code: str = ""
    part: str = ""
    """In words: `node lstm (LSTM)`."""

    def __str__(self) -> str:
        if self.part:
            return self.part
        if not self.file:
            return "the module"
        return f"{Path(self.file).name}, line {self.line}" + (f", `{self.code}`" if self.code else "")


def is_authors(file: str) -> bool:
    """Whether a file is neither torch's nor of this package."""
    return not file.startswith((_TORCH, _HERE, "torch/", "<frozen", "<eval", "<string"))


def place_of(node: Node) -> Place:
    """The innermost line that is not torch's own."""
    return _innermost(str(node.meta.get("stack_trace") or ""))


def _innermost(trace: str) -> Place:
    found = Place()
    lines = trace.splitlines()
    for line, code in zip(lines, [*lines[1:], ""], strict=False):
        head, _, rest = line.strip().partition(", line ")
        if not head.startswith('File "') or not rest:
            continue
        file = head.removeprefix('File "').rstrip('"')
        if is_authors(file):
            found = Place(file, rest.partition(",")[0], "" if code.strip().startswith("File ") else code.strip())
    return found


def refusal(place: Place, what: str, instead: str = "") -> ExportError:
    """One, in one sentence or two."""
    return ExportError(f"{place}: {what}" + (f". Instead: {instead}" if instead else ""))
