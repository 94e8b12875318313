"""The corpus: the source files of the running Python's standard library, split by file.

Nothing here needs torch, so that a test or a benchmark can ask which files the model has never seen.
"""

import hashlib
import sysconfig
from pathlib import Path

STDLIB = Path(sysconfig.get_path("stdlib"))

# Tables that a program wrote, and lib2to3's deliberately odd fixtures: no help in learning to write Python.
EXCLUDED_FOLDERS = ("site-packages", "encodings", "pydoc_data", "lib2to3/tests/data")

HELD_OUT_PERCENT = 5

SEPARATOR = "\f"
"""What the model reads before a file's first character."""


def source_files() -> list[Path]:
    """Every source file of the corpus, sorted."""
    excluded = [STDLIB / folder for folder in EXCLUDED_FOLDERS]
    files = (path for path in STDLIB.rglob("*.py") if path.is_file())
    return sorted(path for path in files if not any(map(path.is_relative_to, excluded)))


def is_held_out(path: Path) -> bool:
    """Whether a file is held out: by a hash of its path in the library, so the same on every machine."""
    name = path.relative_to(STDLIB).as_posix()
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 100 < HELD_OUT_PERCENT


def held_out_files() -> list[Path]:
    """The files the model has never seen, sorted."""
    return [path for path in source_files() if is_held_out(path)]


def training_files() -> list[Path]:
    """The files the model learns from, sorted."""
    return [path for path in source_files() if not is_held_out(path)]


def read_characters(path: Path) -> bytes:
    """A whole file as ASCII codes, one byte each; a character outside ASCII becomes '?'."""
    return path.read_text("utf-8", errors="replace").encode("ascii", "replace")
