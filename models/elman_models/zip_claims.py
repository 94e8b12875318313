"""What a zip archive of somebody else claims to hold, looked at before anything in it is read."""

import zipfile
from collections import Counter

MAX_RATIO = 200
"""How many times larger than packed it may be: weights hardly shrink."""
MIN_RATIO_BYTES = 1 << 20
"""Below it any ratio is good."""


def fault(archive: zipfile.ZipFile, packed: int) -> str | None:
    """Why it is not read, in words: a name that stands twice, so that two readers could see two files, or a zip bomb.

    Args:
        archive: opened.
        packed: bytes that the whole file has.
    """
    counts = Counter(archive.namelist())
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        return f"{twice[:80]!r} stands twice in it"
    size = sum(info.file_size for info in archive.infolist())
    if size > max(MIN_RATIO_BYTES, MAX_RATIO * packed):
        return f"{size} bytes in {packed}: a zip bomb"
    return None
