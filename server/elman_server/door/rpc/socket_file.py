"""A unix socket as a file: what is in its place, who may use it, and its removal."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class SocketFile:
    """The file of a socket that a server listens on."""

    def __init__(self, path: Path, mode: int) -> None:
        """`mode`: its permissions; whoever may write to it may connect."""
        self._path = path
        self._mode = mode
        self._made: tuple[int, int] | None = None  # device and inode of ours

    @contextmanager
    def made(self) -> Iterator[None]:
        """While the socket is bound: it has its permissions from the first moment on. What a server that is gone has
        left in its place is removed.

        Raises:
            OSError: a server listens there, something else than a socket is there, or there is no such folder.
        """
        _make_way(self._path)
        before = os.umask(0o777 & ~self._mode)
        try:
            yield
        finally:
            os.umask(before)
        self._path.chmod(self._mode)
        self._made = _identity(self._path)

    def remove(self) -> None:
        """Removes it, unless gRPC has, or another server's is there by now."""
        if self._made and _identity(self._path) == self._made:
            with suppress(FileNotFoundError):
                self._path.unlink()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _make_way(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise NotADirectoryError(f"there is no folder {path.parent}") from None
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError("a file that is no socket is there")
    if _is_answered(path):
        raise FileExistsError("a server listens there")
    path.unlink()


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        return True
