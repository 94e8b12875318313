"""HDF5 read as data: no links out of the file, nothing compressed, no more numbers than there are bytes."""

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from elman_models.export.refusals import ExportError
from elman_models.spec import MAX_SIZE

if TYPE_CHECKING:
    import h5py

MAX_TIMES = 4
"""How often the file's bytes may be read over, by names that share them."""
Floats = NDArray[np.float32]


class Hdf5:
    """A file in memory."""

    def __init__(self, data: bytes, where: str) -> None:
        """Raises ExportError: it is none, or h5py is not installed."""
        try:
            import h5py
        except ImportError as error:
            raise ExportError("reading it takes h5py: pip install 'elman-models[keras]'") from error
        self._where = where
        self._left_bytes = MAX_TIMES * len(data)
        try:
            self._file = h5py.File(io.BytesIO(data), "r")
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise ExportError(f"{where}: cannot be read as HDF5: {error}") from error

    def text_attribute(self, name: str, group: str = "") -> str | None:
        """An attribute of the file, or of a group, that is text; None: there is none."""
        value = self._attribute(group, name)
        return (
            value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else None
        )

    def names_attribute(self, group: str, name: str) -> list[str] | None:
        """An attribute that is a list of names, which Keras divides where it is long; None: there is none."""
        value = self._attribute(group, name)
        if value is None:
            value, number = [], 0
            while (part := self._attribute(group, f"{name}{number}")) is not None:
                value += list(part)  # type: ignore[call-overload]
                number += 1
            if not number:
                return None
        names = list(value) if isinstance(value, np.ndarray | list) else []
        return [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in names]

    def _attribute(self, group: str, name: str) -> object:
        try:
            attributes = (self._group(group) if group else self._file).attrs
            value: object = attributes.get(name)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise ExportError(
                f"{self._where}: {group or 'the file'}: attribute {name} cannot be read: {error}"
            ) from error
        return value

    def has(self, path: str) -> bool:
        """Whether there is such a group or dataset."""
        return self._found(path) is not None

    def _found(self, path: str) -> "h5py.Group | h5py.Dataset | None":
        """Part by part: what a link leads to is not looked at.

        Raises:
            ExportError: a part is a link.
        """
        import h5py

        here: h5py.Group | h5py.Dataset = self._file
        for part in path.strip("/").split("/"):
            if not isinstance(here, h5py.Group):
                return None
            try:
                link = here.get(part, getlink=True)
                if link is None:
                    return None
                if not isinstance(link, h5py.HardLink):
                    raise ExportError(f"{self._where}: {path}: a link ({type(link).__name__}), which is not followed")
                here = here[part]
            except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
                raise ExportError(f"{self._where}: {path}: cannot be read: {error}") from error
        return here

    def _group(self, path: str) -> "h5py.Group":
        import h5py

        found = self._found(path)
        if not isinstance(found, h5py.Group):
            raise ExportError(f"{self._where}: {path}: is missing")
        return found

    def floats(self, path: str) -> Floats:
        """A dataset, as float32.

        Raises:
            ExportError: it is missing, of another kind, elsewhere, compressed, or of more numbers than there are.
        """
        import h5py

        found = self._found(path)
        if not isinstance(found, h5py.Dataset):
            raise ExportError(f"{self._where}: {path}: the weight is missing")
        try:
            self._check(found, path)
            self._left_bytes -= found.nbytes
            if self._left_bytes < 0:
                raise ExportError(f"{self._where}: {path}: the same numbers are read over and over")
            return np.array(found[()], np.float32)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise ExportError(f"{self._where}: {path}: cannot be read: {error}") from error

    def _check(self, given: "h5py.Dataset", path: str) -> None:
        where = f"{self._where}: {path}"
        if given.external or given.is_virtual:
            raise ExportError(f"{where}: its numbers are in another file, which is not opened")
        if given.dtype.kind != "f" or given.dtype.itemsize > 8:
            raise ExportError(f"{where}: expected floats, got {given.dtype}")
        if given.compression is not None or given.scaleoffset is not None or given.shuffle or given.fletcher32:
            raise ExportError(f"{where}: is compressed, which Keras does not do")
        if any(size > MAX_SIZE for size in given.shape):
            raise ExportError(f"{where}: expected sizes up to {MAX_SIZE}, got {list(given.shape)}")
        if given.id.get_storage_size() < given.nbytes:
            raise ExportError(f"{where}: expected {given.nbytes} bytes of numbers, got {given.id.get_storage_size()}")
