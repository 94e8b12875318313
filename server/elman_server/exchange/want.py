"""What of its outputs a caller wants back."""

from enum import IntEnum


class Want(IntEnum):
    """Which steps' outputs travel back."""

    ALL = 1
    LAST = 2
    NONE = 3


def kind_of(outputs: int, want: Want, *, want_state: bool) -> int:
    """What is asked back as one number: which outputs (as bits), of which steps, and whether the state."""
    return outputs << 3 | want << 1 | want_state
