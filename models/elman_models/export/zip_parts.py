"""The parts of a zip archive that somebody else made: read by name and within limits, nothing unpacked to disk."""

import json
import zipfile
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

from elman_models.export.refusals import ExportError

MAX_RATIO = 200
"""How many times larger than packed a part may be: weights hardly shrink."""
_MIN_RATIO_BYTES = 1 << 20
"""Below it any ratio is good."""
UNREADABLE = (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, NotImplementedError)
"""What zipfile raises of an archive that is damaged, cut short or encrypted."""


def part_names(archive: zipfile.ZipFile) -> list[str]:
    """All.

    Raises:
        ExportError: one leads out of the archive, or stands there twice, so that two readers could see two files.
    """
    counts = Counter(archive.namelist())
    for name, count in counts.items():
        if ".." in PurePosixPath(name).parts or name.startswith("/") or "\\" in name or ":" in name:
            raise ExportError(f"{name!r}: a name that leads out of the archive")
        if count > 1:
            raise ExportError(f"{name}: stands twice in the archive")
    return list(counts)


def read_part(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """The bytes of one that is there.

    Raises:
        ExportError: more than `limit` of them, or than is written in the archive; a zip bomb.
    """
    info = archive.getinfo(name)
    packed, size = info.compress_size, info.file_size
    if size > limit:
        raise ExportError(f"{name}: expected at most {limit} bytes, got {size}")
    if size > _MIN_RATIO_BYTES and size > MAX_RATIO * packed:
        raise ExportError(f"{name}: {size} bytes in {packed}: a zip bomb")
    with archive.open(info) as file:
        data = file.read(size + 1)
    if len(data) != size:
        raise ExportError(f"{name}: expected {size} bytes, got {'more' if len(data) > size else len(data)}")
    return data


def _mapping_of_own_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"{next(key for key, count in counts.items() if count > 1)[:80]!r} stands twice")
    return found


def json_mapping(text: bytes | str, where: str) -> dict[str, Any]:
    """A mapping of JSON.

    Raises:
        ExportError: it is none, nested too deeply, or has a key twice.
    """
    try:
        found = json.loads(text, object_pairs_hook=_mapping_of_own_keys)
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{where}: is not JSON: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise ExportError(f"{where}: expected a mapping, got {type(found).__name__}")
    return found
