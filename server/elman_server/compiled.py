"""Compiled functions: loops over tables of records, as machine code (Numba).

Frames are taken in, batches formed and settled row by row. In NumPy each of these was a hundred calls on short arrays,
which between two batches, when the kernel has emptied the caches, took half as long again (bench/README.md).
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numba.core.config

P = ParamSpec("P")
T = TypeVar("T")


def compiled(function: Callable[P, T]) -> Callable[P, T]:
    """`function`, which takes and gives numbers, arrays and tables of records; indices are checked.

    It is compiled when it is first called, and kept on disk in the user's cache.
    """
    try:
        made = numba.njit(cache=True, boundscheck=True)(function)
    except RuntimeError:  # nowhere to keep it: compiled at each start
        made = numba.njit(boundscheck=True)(function)
    return cast(Callable[P, T], made)


def _cache_folder() -> Path:
    # Numba looks at a function's own file for changes, not at those of the functions that it calls: so what is kept is
    # kept apart for every state of them all.
    parts = sorted(path for path in Path(__file__).parent.glob("*.py") if b"@compiled" in path.read_bytes())
    state = hashlib.sha256(b"".join(path.read_bytes() for path in parts)).hexdigest()[:16]
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "elman" / "compiled" / state


_settings: Any = numba.core.config
if not _settings.CACHE_DIR:
    _settings.CACHE_DIR = str(_cache_folder())
# For any machine of this kind: a cache on a shared disk serves them all.
_settings.CPU_NAME, _settings.CPU_FEATURES = "generic", ""
