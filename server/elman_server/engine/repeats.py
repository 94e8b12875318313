"""Repeats: a chunk that begins behind its session. One that was taken in before is answered, not run again."""

from collections.abc import Sequence

import numpy as np

from elman_server.errors import AnswerGone, PositionAhead, PredecessorFailed, Superseded
from elman_server.exchange.frames import Frame
from elman_server.exchange.result_queue import ResultQueue
from elman_server.models.runtime import Runtime
from elman_server.sessions.replay_buffer import HeldSlice


class Repeats:
    """Knows the chunks that one runtime has queued, runs or holds the answers of."""

    def __init__(self, runtime: Runtime, result_queue: ResultQueue) -> None:
        self._runtime = runtime
        self._result_queue = result_queue

    def answer(self, frame: Frame, row: int, slot: int, begin: int, admitted: int) -> None:
        """Answers a chunk from position `begin`, which is row `row` of `frame`; `admitted`: its session's when it came.

        Raises:
            PredecessorFailed: the chunk names no position, and an earlier one failed.
            PositionAhead: steps are missing before it.
            AnswerGone: no such chunk is queued, running or held.
        """
        length = int(frame.lengths[row])
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
        for number in runtime.scheduler.queues.of(slot):
            chunk = chunks.table[number]
            same = chunk["begin"] == begin and chunk["length"] == length
            if same and chunk["kind"] == frame.kind:
                slices = runtime.replay_buffer.slices(int(chunk["result"]), int(chunk["result_row"]))
                if chunk["result"] >= 0 and slices is None:
                    return False
                self._redirect(number, frame, row)
                self._send(frame, row, slices or [])
                return True
        return False

    def _redirect(self, number: int, frame: Frame, row: int) -> None:
        runtime, chunk = self._runtime, self._runtime.scheduler.chunks.table[number]
        error = Superseded("the chunk was asked for again: its answer goes to the newest asker")
        before = runtime.frames[int(chunk["frame"])]
        self._result_queue.fail(before, int(chunk["row"]), error)
        runtime.frames.release(int(chunk["frame"]))
        chunk["frame"] = runtime.frames.put(frame, 1)
        chunk["row"] = row
        chunk["deadline"] = frame.deadlines[row]

    def _send_held(self, frame: Frame, row: int, slot: int, begin: int, length: int) -> bool:
        slices = self._runtime.replay_buffer.find(slot, begin, length, frame.kind)
        if slices:
            self._send(frame, row, slices)
        return slices is not None

    def _send(self, frame: Frame, row: int, slices: Sequence[HeldSlice]) -> None:
        rows = np.array([row])
        for result, result_row in slices:
            part = result.cut(np.array([result_row]), rows, frame)
            self._result_queue.answer(frame, part.copied())
