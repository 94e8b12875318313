"""Repeats: a chunk that begins behind its session. One that was taken in before is answered, not run again."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from elman_server.errors import AnswerGone, PositionAhead, PredecessorFailed, Superseded
from elman_server.exchange.frames import Frame
from elman_server.exchange.result_queue import ResultQueue
from elman_server.models.runtime import Runtime
from elman_server.sessions.replay_buffer import HeldSlice


class Asked(NamedTuple):
    """A chunk that does not begin where its session is, as it came: a row of a frame."""

    frame: Frame
    row: int
    slot: int
    begin: int
    """-1: it names no position, and its session is broken."""
    length: int
    kind: int
    """What is asked back, see `pack_kind`: a repeat asks for the same."""


class Repeats:
    """Knows the chunks that one runtime has queued, runs or holds the answers of."""

    def __init__(self, runtime: Runtime, result_queue: ResultQueue) -> None:
        self._runtime = runtime
        self._result_queue = result_queue

    def answer(self, asked: Asked, admitted: int) -> None:
        """Answers it; `admitted`: its session's position when it came, behind the chunks that were taken in before.

        Raises:
            PredecessorFailed: the chunk names no position, and an earlier one failed.
            PositionAhead: steps are missing before it.
            AnswerGone: no such chunk is queued, running or held.
        """
        begin = asked.begin
        if begin < 0:
            raise PredecessorFailed(
                f"an earlier chunk failed; the session is at position {admitted}: name the position to go on",
                metadata={"position": admitted},
            )
        known = {"position": admitted, "given": begin}
        if begin > admitted:
            raise PositionAhead(f"position {begin} is ahead of the session's, {admitted}", metadata=known)
        if not (self._join_queued(asked) or self._send_held(asked)):
            raise AnswerGone(
                f"position {begin} is behind the session's, {admitted}, and no such chunk's answer is held",
                metadata=known,
            )
        self._runtime.metrics.replayed_chunks.inc()

    def _join_queued(self, asked: Asked) -> bool:
        runtime, chunks = self._runtime, self._runtime.scheduler.chunks
        for number in runtime.scheduler.queues.of(asked.slot):
            chunk = chunks.table[number]
            if (chunk["begin"], chunk["length"], chunk["kind"]) == (asked.begin, asked.length, asked.kind):
                slices = runtime.replay_buffer.slices(int(chunk["result"]), int(chunk["result_row"]))
                if chunk["result"] >= 0 and slices is None:
                    return False
                self._redirect(number, asked.frame, asked.row)
                self._send(asked.frame, asked.row, slices or [])
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

    def _send_held(self, asked: Asked) -> bool:
        slices = self._runtime.replay_buffer.find(asked.slot, asked.begin, asked.length, asked.kind)
        if slices:
            self._send(asked.frame, asked.row, slices)
        return slices is not None

    def _send(self, frame: Frame, row: int, slices: Sequence[HeldSlice]) -> None:
        rows = np.array([row])
        for result, result_row in slices:
            part = result.cut(np.array([result_row]), rows, frame)
            self._result_queue.answer(frame, part.copied())
