"""Tensors that an .onnx file keeps in other files: beside it alone, and read as bytes."""

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from elman_models.export.refusals import ExportError

if TYPE_CHECKING:
    from onnx import TensorProto

MAX_TENSOR_BYTES = 1 << 33
"""Of one tensor in another file."""
MAX_TIMES = 4
"""How often a file may be read over, by tensors that share its bytes."""


def read_external(tensor: "TensorProto", folder: Path, where: str, taken: dict[Path, int]) -> bytes:
    """The bytes of `tensor`, whose file is in `folder`; `taken`: of each file, how many bytes were read; is added to.

    Raises:
        ExportError: the file is elsewhere, cannot be read, is too short, or read more than `MAX_TIMES` times over.
    """
    fields = {entry.key: entry.value for entry in tensor.external_data}
    path = _path(folder, fields.get("location", ""), where)
    offset, length = _number(fields, "offset", where) or 0, _number(fields, "length", where)
    try:
        size = path.stat().st_size
        length = size - offset if length is None else length
        if offset + length > size or length < 0 or length > MAX_TENSOR_BYTES:
            raise ExportError(f"{where}: expected {length} bytes from {offset} in {path.name}, which has {size}")
        taken[path] = taken.get(path, 0) + length
        if taken[path] > MAX_TIMES * size:
            raise ExportError(f"{where}: {path.name} is read over and over: {taken[path]} bytes of {size}")
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise ExportError(f"{where}: its file {path.name} cannot be read: {error.strerror}") from error


def _path(folder: Path, location: str, where: str) -> Path:
    """Raises ExportError where the file is not one of the folder's own."""
    parts = PurePosixPath(location).parts
    is_outside = ".." in parts or location.startswith(("/", "~")) or "\\" in location or "\0" in location
    if not parts or is_outside or PureWindowsPath(location).drive:
        raise ExportError(f"{where}: its data is in {location!r}; expected a file in the folder of the .onnx file")
    path = (folder / location).resolve()
    if not path.is_relative_to(folder.resolve()):  # a link
        raise ExportError(f"{where}: its data is in {location!r}, which leads out of the folder of the .onnx file")
    if not path.is_file():
        raise ExportError(f"{where}: its data is in {location!r}, and there is no such file beside the .onnx file")
    return path


def _number(fields: dict[str, str], key: str, where: str) -> int | None:
    text = fields.get(key)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise ExportError(f"{where}: external {key}: expected a number of bytes, got {text[:40]!r}")
    return int(text)
