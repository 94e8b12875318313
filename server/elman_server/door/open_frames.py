"""Open frames: what one stream has asked and was not answered yet, row by row."""

from elman_server.exchange.answers import Answer
from elman_server.exchange.frames import Frame

_NONE: frozenset[int] = frozenset()


class OpenFrames:
    """The frames of one stream that have rows to be ended. On the engine's thread."""

    def __init__(self) -> None:
        self._ended: dict[Frame, frozenset[int]] = {}  # rows that have ended before the others

    def __len__(self) -> int:
        return len(self._ended)

    def __contains__(self, frame: Frame) -> bool:
        return frame in self._ended

    def add(self, frame: Frame) -> None:
        """One more, all of whose rows are to be ended."""
        self._ended[frame] = _NONE

    def take(self, frame: Frame, answer: Answer) -> int:
        """Takes in what an open frame is answered; how many of its rows end with it."""
        ended = frame.open_rows if answer.frame_error is not None else answer.num_ended
        frame.open_rows -= ended
        if not frame.open_rows:
            del self._ended[frame]
        elif ended:
            self._ended[frame] |= {*answer.finished.tolist(), *(row for row, _ in answer.errors)}
        return ended

    def left(self) -> list[tuple[Frame, list[int]]]:
        """All open frames, and which of their rows are to be ended."""
        return [
            (frame, [row for row in range(frame.num_rows) if row not in done]) for frame, done in self._ended.items()
        ]
