"""The order of answers: those of one sequence leave in the order of its requests, in whatever order they come."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class AnswerTurn(Generic[T]):
    """One request's place in its line, with the answers that wait there."""

    __slots__ = ("answers", "ended", "line")

    def __init__(self, line: str | None) -> None:
        self.line = line
        self.answers: list[T] = []
        self.ended = False


class AnswerOrder(Generic[T]):
    """Lines by name; a request without a line is answered at once."""

    def __init__(self, send: Callable[[T], None], *, one_line: bool) -> None:
        """`one_line`: all requests stand in one, and so are answered in their order."""
        self._send = send
        self._one_line = one_line
        self._lines: dict[str, deque[AnswerTurn[T]]] = {}

    def join(self, line: str) -> AnswerTurn[T]:
        """The next place of a line; none where the name is empty."""
        if not line and not self._one_line:
            return AnswerTurn(None)
        turn: AnswerTurn[T] = AnswerTurn("" if self._one_line else line)
        waiting = self._lines.get(turn.line or "")
        if waiting is None:
            waiting = self._lines[turn.line or ""] = deque()
        waiting.append(turn)
        return turn

    def answer(self, turn: AnswerTurn[T], answer: T, *, final: bool) -> None:
        """Sends an answer now, or as soon as the requests before it have ended."""
        turn.ended = final
        if turn.line is None:
            self._send(answer)
            return
        waiting = self._lines[turn.line]
        if waiting[0] is not turn:
            turn.answers.append(answer)
            return
        self._send(answer)
        while final:
            waiting.popleft()
            if not waiting:
                del self._lines[turn.line]
                return
            for held in waiting[0].answers:
                self._send(held)
            final = waiting[0].ended
            waiting[0].answers.clear()
