"""What of its outputs a caller wants back; and, with the rest that is asked of a chunk, as one number for tables."""

from enum import IntEnum

from elman_server.tables.jit import jit


class Want(IntEnum):
    """Which steps' outputs travel back."""

    ALL = 1
    LAST = 2
    NONE = 3


@jit
def pack_kind(outputs: int, want: int, want_state: bool) -> int:
    """What is asked back of a chunk as one number; repeats of it must ask for the same. `outputs`: which, as bits."""
    return outputs << 3 | want << 1 | want_state


@jit
def unpack_kind(kind: int) -> tuple[int, int, bool]:
    """The outputs as bits, the `Want`, and whether the state is asked for, of what `pack_kind` gave."""
    return kind >> 3, kind >> 1 & 3, kind & 1 != 0


def asked_back(kind: int) -> tuple[Want, bool]:
    """As `unpack_kind`, without the outputs, where nothing is to be compiled for it."""
    return Want(kind >> 1 & 3), bool(kind & 1)
