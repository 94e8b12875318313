"""The C library's allocator, set for a server that needs the same large blocks again and again."""

import ctypes

# glibc's malloc.h. By default blocks above some size are mapped for each use and given back after it, and the kernel
# clears every page anew: at 256 rows that cost as much as a tenth of the batch (bench/README.md).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Has freed blocks stay with the process to be used again; whether the C library can be told so (glibc only)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
