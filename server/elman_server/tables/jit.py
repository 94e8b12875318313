"""Compiled functions: loops over tables of records, as machine code (Numba).

Frames are taken in, batches formed and settled row by row. In NumPy each of these was a hundred calls on short arrays,
which between two batches, when the kernel has emptied the caches, took half as long again (bench/README.md).
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numba.core.config

from elman_server.tables.source_key import source_key

P = ParamSpec("P")
T = TypeVar("T")

_settings: Any = numba.core.config


def jit(function: Callable[P, T]) -> Callable[P, T]:
    """`function`, which takes and gives numbers, arrays and tables of records; indices are checked.

    It is compiled when it is first called, and kept on disk where there is a folder for it (`CACHE`).
    """
    if CACHE.folder is None:
        return cast(Callable[P, T], numba.njit(boundscheck=True)(function))
    with _kept_in(CACHE.folder):
        return cast(Callable[P, T], numba.njit(cache=True, boundscheck=True)(function))


class CompiledCache:
    """Where compiled functions are kept, if anywhere."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        """None: nowhere; they are compiled at each start."""
        self.reason = ""
        """Why nowhere."""
        try:
            folder = _base_folder() / source_key(Path(__file__).parents[1], b"@jit")
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()  # Numba reads only where it can write, too
        except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
            self.reason = str(error)
        else:
            self.folder = folder


def _base_folder() -> Path:
    # Where the user has told Numba to keep things, else with what else elman keeps.
    if _settings.CACHE_DIR:
        return Path(_settings.CACHE_DIR)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "elman" / "compiled"


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    # Numba has no argument for the folder, only a setting of the whole process, which it reads as a function is
    # declared: so other people's compiled functions are kept where they were before. Without this folder Numba would
    # take the one beside the source, by a key that knows nothing of the functions that a function calls.
    before, _settings.CACHE_DIR = _settings.CACHE_DIR, str(folder)
    try:
        yield
    finally:
        _settings.CACHE_DIR = before


# For any machine of this kind, so that a cache on a shared disk serves them all; loops over tables gain nothing from a
# processor's wide instructions. Numba makes one code generator for the whole process, by these settings: there are no
# narrower ones. Where the user has chosen (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES) that stays.
if not _settings.CPU_NAME:
    _settings.CPU_NAME = "generic"
    if _settings.CPU_FEATURES is None:
        _settings.CPU_FEATURES = ""

CACHE = CompiledCache()
