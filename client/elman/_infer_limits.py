"""How large a request of `infer` may be: what is documented, until the server says less."""

from __future__ import annotations

from typing import Final

from elman._shared.errors import LimitReachedError

_MAX_ROWS: Final = 1024
"""What a server takes unless it is set otherwise (`max_infer_rows`)."""
_ROW_LIMITS: Final = ("max_infer_rows", "max_queue_rows")


class InferLimits:
    """Rows and bytes of a request or its answer; of one model, for as long as the client has it."""

    def __init__(self, max_bytes: int) -> None:
        self.max_rows = _MAX_ROWS
        self.max_bytes = max_bytes

    def within(self, max_bytes: int) -> InferLimits:
        """These, and at most so many bytes."""
        limits = InferLimits(min(self.max_bytes, max_bytes))
        limits.max_rows = self.max_rows
        return limits

    def lower(self, error: LimitReachedError, num_rows: int, num_bytes: int) -> None:
        """A request of so many rows and bytes was too large: learns from what the server said, else halves it."""
        told = error.details.metadata.get("value", "")
        limit = int(told) if told.isdecimal() else 0
        if error.limit in _ROW_LIMITS:
            self.max_rows = max(1, min(limit or num_rows // 2, num_rows - 1))
        else:
            room = limit - limit // 16  # the rest is for what is not data
            self.max_bytes = max(1, room if 0 < room < num_bytes else num_bytes // 2)
