"""A bundle's file: read only where it is a regular one and no larger than it may be."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path


@contextmanager
def regular_file(path: Path, most: int) -> Iterator[BufferedReader]:
    """The file, opened for reading.

    Args:
        path: of the file, or of a link to it.
        most: bytes that it may have.

    Raises:
        OSError: it is not there or cannot be read, is larger, or is a pipe or a device, which may have no end;
            `strerror` says which.
    """
    with open(path, "rb", opener=_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "expected a regular file, got a pipe or a device")
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"expected at most {most} bytes, got {status.st_size}")
        yield file


def read_regular(path: Path, most: int) -> bytes:
    """All bytes of the file; errors as of `regular_file`."""
    with regular_file(path, most) as file:
        return file.read(os.fstat(file.fileno()).st_size)


def _at_once(path: str, flags: int) -> int:
    # A pipe that nobody writes to would be waited for.
    return os.open(path, flags | os.O_NONBLOCK)
