"""Repeats: a chunk that begins behind its session. One that was taken in before is answered, not run again."""

from collections.abc import Sequence

import numpy as np

from elman_server.answers import failure
from elman_server.delivery import Delivery
from elman_server.errors import AnswerGone, PositionAhead, PredecessorFailed, Superseded
from elman_server.frames import Frame
from elman_server.held import Piece
from elman_server.runtime import Runtime


class Repeats:
    """Knows the chunks that one runtime has queued, runs or holds the answers of."""

    def __init__(self, runtime: Runtime, delivery: Delivery) -> None:
        self._runtime = runtime
        self._delivery = delivery

    def answer(self, frame: Frame, row: int, slot: int, begin: int, length: int) -> None:
        """Answers a chunk of `length` steps from position `begin`, which is row `row` of `frame`.

        Raises:
            PredecessorFailed: the chunk names no position, and an earlier one failed.
            PositionAhead: steps are missing before it.
            AnswerGone: no such chunk is queued, running or held.
        """
        admitted = int(self._runtime.sessions.admitted[slot])
        if begin < 0:
            raise PredecessorFailed(
                f"an earlier chunk failed; the session is at position {admitted}: name the position to go on",
                metadata={"position": admitted},
            )
        known = {"position": admitted, "given": begin}
        if begin > admitted:
            raise PositionAhead(f"position {begin} is ahead of the session's, {admitted}", metadata=known)
        if not (self._join_queued(frame, row, slot, begin, length) or self._send_held(frame, row, slot, begin, length)):
            raise AnswerGone(
                f"position {begin} is behind the session's, {admitted}, and no such chunk's answer is held",
                metadata=known,
            )
        self._runtime.metrics.replayed_chunks.inc()

    def _join_queued(self, frame: Frame, row: int, slot: int, begin: int, length: int) -> bool:
        runtime, chunks = self._runtime, self._runtime.scheduler.chunks
        for number in runtime.scheduler.queue(slot):
            same = chunks.begin[number] == begin and chunks.length[number] == length
            if same and chunks.kind[number] == frame.kind:
                pieces = runtime.held.pieces(int(chunks.page[number]), int(chunks.page_row[number]))
                if chunks.page[number] >= 0 and pieces is None:
                    return False
                self._redirect(number, frame, row)
                self._send(frame, row, pieces or [])
                return True
        return False

    def _redirect(self, number: int, frame: Frame, row: int) -> None:
        runtime, chunks = self._runtime, self._runtime.scheduler.chunks
        error = Superseded("the chunk was asked for again: its answer goes to the newest asker")
        before = runtime.frames[int(chunks.frame[number])]
        self._delivery.answer(before, failure(((int(chunks.row[number]), error),)))
        runtime.frames.release(chunks.frame[[number]])
        chunks.frame[number] = runtime.frames.put(frame, 1)
        chunks.row[number] = row
        chunks.deadline[number] = frame.deadline

    def _send_held(self, frame: Frame, row: int, slot: int, begin: int, length: int) -> bool:
        pieces = self._runtime.held.find(slot, begin, length, frame.kind)
        if pieces:
            self._send(frame, row, pieces)
        return pieces is not None

    def _send(self, frame: Frame, row: int, pieces: Sequence[Piece]) -> None:
        rows = np.array([row])
        for page, page_row in pieces:
            part = page.cut(np.array([page_row]), rows, frame.num_rows, frame.want, frame.want_state)
            self._delivery.answer(frame, part.copied())
