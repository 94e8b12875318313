"""What of its outputs a caller wants back."""

from enum import IntEnum


class Want(IntEnum):
    """Which steps' outputs travel back."""

    ALL = 1
    LAST = 2
    NONE = 3
