"""Frames that have not ended, and what their rows' ends mean for the sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from elman._shared.errors import ElmanError, StaleHandleError
from elman._shared.retry import is_cut, is_refused_for_now
from elman._shared.status import error_of_status
from elman._stepping.frame import Frame
from elman._stepping.send_queue import predecessor_failed
from elman._stepping.session_table import NO_SERVER, SessionTable
from elman.v1 import inference_pb2

_MAX_GATHERING_FRAMES = 2
_BEHIND = ("POSITION_AHEAD", "PREDECESSOR_FAILED")


class InFlightFrames:
    """In the order in which the frames were first sent."""

    def __init__(self, table: SessionTable, note_ended: Callable[[Iterable[int]], None]) -> None:
        """`note_ended` is told of sessions when chunks of theirs have ended."""
        self._note_ended = note_ended
        self.resend_reason: ElmanError | None = None  # why something has to be sent again
        self.connection = 0  # streams opened so far
        self._table = table
        self._frames: dict[int, Frame] = {}

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def is_crowded(self) -> bool:
        """Whether enough short frames are under way, so that more chunks had better gather."""
        if len(self._frames) < _MAX_GATHERING_FRAMES:
            return False
        waiting = sum(frame.is_short and not frame.acknowledged for frame in self._frames.values())
        return waiting >= _MAX_GATHERING_FRAMES

    @property
    def is_quiet(self) -> bool:
        """Whether the server owes nothing: all rows have ended or were refused for now."""
        return not any(frame.is_awaited for frame in self._frames.values())

    def add(self, frame: Frame) -> None:
        """A frame that is about to be sent."""
        self._frames[frame.number] = frame

    def get(self, number: int) -> Frame | None:
        """The frame that a result answers; None if it has ended."""
        return self._frames.get(number)

    def frames(self) -> list[Frame]:
        """All, in order."""
        return list(self._frames.values())

    def sessions(self) -> set[int]:
        """Those with rows that have not ended."""
        return {session for frame in self._frames.values() for session in frame.sessions[frame.is_open].tolist()}

    def absorb(self, frame: Frame, result: inference_pb2.StepResponse) -> bool:
        """Takes a result; returns whether a row of it ended well."""
        finished = frame.absorb(result)
        if finished:
            sessions = frame.sessions[finished]
            self._table.in_flight[sessions] -= 1
            self._table.pending[sessions] -= 1
            self._note_ended(sessions.tolist())
        for failed in result.errors:
            self._row_failed(frame, frame.row_of(failed.row), error_of_status(failed.status))
        self._forget(frame)
        return bool(finished)

    def frame_failed(self, frame: Frame, error: ElmanError) -> None:
        """The frame was refused whole."""
        for row in np.flatnonzero(frame.is_open).tolist():
            self._row_failed(frame, row, error)
        self._forget(frame)

    def fail_rows_after_failure(self, frame: Frame) -> None:
        """Fails rows whose session's earlier chunk failed since they were submitted."""
        stale = frame.is_open & (self._table.epochs[frame.sessions] != frame.epochs)
        if stale.any():
            self._fail_rows(frame, np.flatnonzero(stale).tolist(), predecessor_failed())

    def fail_refused(self) -> None:
        """Gives up on what was refused for now; what was refused because it came behind fails when next sent."""
        for frame in self.frames():
            for row, error in list(frame.refused.items()):
                if is_refused_for_now(error):
                    self._fail_rows(frame, [row], error)

    def fail_session(self, session: int, error: ElmanError) -> None:
        """The session is lost."""
        for frame in self.frames():
            rows = np.flatnonzero(frame.is_open & (frame.sessions == session)).tolist()
            self._fail_rows(frame, rows, error)

    def fail_all(self, error: ElmanError) -> None:
        """Gives up; whether the steps were applied is not known, so their sessions ask before they go on."""
        self.resend_reason = None
        for frame in self.frames():
            sessions = frame.sessions[frame.is_open]
            self._table.position_unknown[sessions] = True
            self._table.servers[sessions] = NO_SERVER
            self._fail_rows(frame, np.flatnonzero(frame.is_open).tolist(), error)

    def _row_failed(self, frame: Frame, row: int, error: ElmanError) -> None:
        if not frame.is_open[row]:
            return
        session = frame.sessions.item(row)
        if is_cut(error) or is_refused_for_now(error):
            self._note_resend(error)
        elif isinstance(error, StaleHandleError) and (
            self._table.attached_on.item(session) != self.connection or "moved_to" in error.details.metadata
        ):
            self._note_resend(error)  # a handle of the connection before, or of the version before
        elif not (error.details.reason in _BEHIND and self._is_behind_refused(session, frame.begins.item(row))):
            self._fail_rows(frame, [row], error)
            return
        frame.refuse(row, error)

    def _note_resend(self, error: ElmanError) -> None:
        if self.resend_reason is None or is_cut(error):
            self.resend_reason = error

    def _is_behind_refused(self, session: int, begin: int) -> bool:
        return any(
            frame.sessions.item(row) == session and frame.begins.item(row) < begin
            for frame in self._frames.values()
            for row in frame.refused
        )

    def _fail_rows(self, frame: Frame, rows: list[int], error: ElmanError) -> None:
        for row in rows:
            session = frame.sessions.item(row)
            self._table.in_flight[session] -= 1
            self._table.pending[session] -= 1
            self._table.fail(session, frame.begins.item(row), frame.epochs.item(row), error)
            frame.fail(row, _in_words(error, self._table.ids[session]))
        self._note_ended(frame.sessions[rows].tolist())
        self._forget(frame)

    def _forget(self, frame: Frame) -> None:
        if not frame.num_open:
            self._frames.pop(frame.number, None)


def _in_words(error: ElmanError, session_id: str) -> ElmanError:
    """The server speaks of handles, and a caller knows ids."""
    if error.details.reason != "STALE_HANDLE":
        return error
    return StaleHandleError(
        f"session {session_id!r} was opened by another client since, or it ended: "
        f'model.session({session_id!r}, mode="resume") takes it back',
        error.details,
    )
