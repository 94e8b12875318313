"""Admission: frames become queued chunks, all of those that arrived together in one go."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_models.layout import batch_sizes, steps_and_rows
from elman_server.engine.repeats import Asked, Repeats
from elman_server.engine.take_in import INVALID, REFUSED, STALE, Arrivals, Rows
from elman_server.errors import Draining, InvalidInput, LimitReached, NoSessions, ServiceError, StaleHandle
from elman_server.exchange.frames import Frame
from elman_server.exchange.initial import Initial
from elman_server.exchange.model_view import ModelView, TensorField
from elman_server.exchange.result_queue import ResultQueue
from elman_server.models.runtime import Runtime

I64 = NDArray[np.int64]
Flags = NDArray[np.bool_]
Array = NDArray[Any]


KEPT = NoSessions(
    "the model needs whole sequences: the session holds the state that Infer kept, and cannot be stepped; hand it to "
    "a session of a model that can be, read it, export it or end it"
)


class Admission:
    """Admits frames to one runtime's queue, or says why not."""

    def __init__(self, runtime: Runtime, result_queue: ResultQueue) -> None:
        self._runtime = runtime
        self._result_queue = result_queue
        self._repeats = Repeats(runtime, result_queue)
        self._values = ValueCheck(runtime.view, refuse_non_finite=runtime.limits.refuse_non_finite)

    def admit(self, frames: list[Frame]) -> None:
        """Frames in the order in which they arrived."""
        # Frames go together unless one has chunks longer than a slice: their data outlives that of the others.
        if len(frames) > 1 and any(frame.longest > self._runtime.limits.max_slice for frame in frames):
            for frame in frames:
                self._admit_together([frame])
        else:
            self._admit_together(frames)

    def admit_infer(self, frame: Frame, initial: Initial) -> None:
        """A frame of `Infer`: its rows borrow slots, and begin with what is given.

        Raises:
            InvalidInput: a value is not finite, or a token id out of range.
            LimitReached: too many rows wait.
        """
        runtime = self._runtime
        self._check_infer(frame)
        slots = runtime.sessions.take(frame.num_rows, frame.arrived)
        runtime.borrowed += frame.num_rows
        runtime.begin(slots, initial)
        Arrivals([frame], slots).take_in(runtime, None)

    def _check_infer(self, frame: Frame) -> None:
        runtime, limit = self._runtime, self._runtime.limits.max_infer_rows
        if runtime.unloading:
            raise Draining(f"model {runtime.spec.name!r} is being unloaded")
        if not self._values.all_good(frame.data):
            bad = int(self._values.bad_rows(frame)[0])
            raise InvalidInput(self._values.reason(frame, bad, bad))
        error = LimitReached.first(("max_infer_rows", limit, runtime.borrowed, frame.num_rows))
        error = error or self.check_room(frame.num_rows, frame.num_bytes)
        if error:
            raise error

    def check_room(self, rows: int, num_bytes: int, rows_before: int = 0, bytes_before: int = 0) -> LimitReached | None:
        """Why that much more may not wait, if it may not; `..._before`: what comes with it and goes first."""
        runtime, limits = self._runtime, self._runtime.limits
        return LimitReached.first(
            ("max_queue_rows", limits.max_queue_rows, runtime.queue_rows + rows_before, rows),
            ("max_queue_bytes", limits.max_queue_bytes, runtime.queue_bytes + bytes_before, num_bytes),
        )

    def free_rows(self, row_bytes: int, rows_before: int = 0, bytes_before: int = 0) -> int:
        """How many more of that size may wait; `..._before`: as `check_room`."""
        runtime, limits = self._runtime, self._runtime.limits
        by_rows = limits.max_queue_rows - runtime.queue_rows - rows_before
        by_bytes = (limits.max_queue_bytes - runtime.queue_bytes - bytes_before) // max(1, row_bytes)
        return max(0, min(by_rows, by_bytes))

    def _admit_together(self, frames: list[Frame]) -> None:
        runtime, arrivals = self._runtime, Arrivals(frames)
        has_room = self._has_room(len(arrivals.lengths), arrivals.data.nbytes)
        if not has_room or runtime.unloading or runtime.view.needs_whole_sequences:
            self._refuse(arrivals)
        barred = None if self._values.all_good(arrivals.data) else self._barred(frames)
        crowded = {} if has_room else self._crowded(arrivals)
        if crowded:
            barred = np.zeros(len(arrivals.lengths), np.bool_) if barred is None else barred
            barred[list(crowded)] = True
        rows = arrivals.take_in(runtime, barred)
        if rows.num_taken < len(rows.outcome):
            for r in np.flatnonzero(rows.outcome > REFUSED).tolist():
                self._answer_odd(arrivals, rows, r, crowded)

    def _has_room(self, rows: int, num_bytes: int) -> bool:
        runtime, limits = self._runtime, self._runtime.limits
        has_rows = rows <= int(runtime.scheduler.chunks.free.count[0])
        return has_rows and runtime.queue_bytes + num_bytes <= limits.max_queue_bytes

    def _refuse(self, arrivals: Arrivals) -> None:
        # The frames of which nothing may wait.
        for index, error in self._refusals(arrivals).items():
            arrivals.table["refused"][index] = True
            self._runtime.metrics.reject(error.reason, arrivals.frames[index].num_rows)
            self._result_queue.refuse(arrivals.frames[index], error)

    def _refusals(self, arrivals: Arrivals) -> dict[int, ServiceError]:
        runtime, refused = self._runtime, dict[int, ServiceError]()
        rows = num_bytes = 0
        for index, frame in enumerate(arrivals.frames):
            error: ServiceError | None
            if runtime.unloading:
                error = Draining(f"model {runtime.spec.name!r} is being unloaded")
            elif runtime.view.needs_whole_sequences:
                error = KEPT
            elif frame.owners is not None:  # its rows are refused one by one
                error = None
            else:
                error = self.check_room(frame.num_rows, frame.num_bytes, rows, num_bytes)
            if error:
                refused[index] = error
            else:
                rows, num_bytes = rows + frame.num_rows, num_bytes + frame.num_bytes
        return refused

    def _crowded(self, arrivals: Arrivals) -> dict[int, LimitReached]:
        # Rows of merged frames that the queue has no room for, of all; those before them have it.
        crowded: dict[int, LimitReached] = {}
        rows = num_bytes = 0
        refused, ends = arrivals.table["refused"].tolist(), arrivals.table["end"].tolist()
        for frame, is_refused, end in zip(arrivals.frames, refused, ends, strict=True):
            count = 0 if is_refused else frame.num_rows
            row_bytes = frame.num_bytes // frame.num_rows
            if frame.owners is not None:
                count = min(count, self.free_rows(row_bytes, rows, num_bytes))
                error = self.check_room(1, row_bytes, rows + count, num_bytes + count * row_bytes)
                if error and not is_refused:
                    crowded |= dict.fromkeys(range(end - frame.num_rows + count, end), error)
            rows, num_bytes = rows + count, num_bytes + count * row_bytes
        return crowded

    def _barred(self, frames: list[Frame]) -> Flags:
        # [R] rows with values that must not be run.
        bad = [np.isin(np.arange(f.num_rows), self._values.bad_rows(f)) for f in frames]
        return np.concatenate(bad)

    def _answer_odd(self, arrivals: Arrivals, rows: Rows, r: int, crowded: Mapping[int, LimitReached]) -> None:
        frame, row, kind = arrivals.frame_of(r)
        try:
            if rows.outcome[r] == STALE:
                raise self._stale(int(frame.handles[row]))
            if rows.outcome[r] == INVALID:
                # Merged rows are frames of one row to those who sent them.
                told = row if frame.owners is None else 0
                raise crowded.get(r) or InvalidInput(self._values.reason(frame, row, told))
            asked = Asked(frame, row, int(rows.slots[r]), int(rows.begins[r]), int(frame.lengths[row]), kind)
            self._repeats.answer(asked, int(rows.admitted[r]))
        except ServiceError as error:
            self._runtime.metrics.reject(error.reason)
            self._result_queue.fail(frame, row, error)

    def _stale(self, handle: int) -> ServiceError:
        expired = self._runtime.tombstones.of_handle(handle)
        return expired or StaleHandle(
            "the handle is stale: the session was attached elsewhere since, or ended, or the handle is of another "
            "server process; attach again"
        )


_GOOD = np.ones(1, np.bool_)


class ValueCheck:
    """Which of the numbers that came may be run: ids in range, and, where the server is set so, finite ones."""

    def __init__(self, view: ModelView, *, refuse_non_finite: bool) -> None:
        self._record = view.input
        self._refuse_non_finite = refuse_non_finite
        self._checked = [one for one in view.input.fields if one.num_embeddings or refuse_non_finite]

    def all_good(self, data: Array) -> bool:
        """Whether all of `data`, [N, *features] of the input record, may be run."""
        return all(self._good(one, data if self._record.is_plain else data[one.name]).all() for one in self._checked)

    def bad_rows(self, frame: Frame) -> I64:
        """The rows of a frame that have a number that must not be run."""
        _, rows = steps_and_rows(batch_sizes(frame.lengths))
        bad = np.zeros(len(rows), np.bool_)
        for one in self._record.fields:
            good = self._good(one, self._tensor(one, frame.data))
            if good is not _GOOD:
                bad |= ~good.reshape(len(rows), -1).all(axis=1)
        return np.unique(rows[bad])

    def reason(self, frame: Frame, row: int, told: int) -> str:
        """What is wrong with a bad row; `told`: its number for whoever is told."""
        _, rows = steps_and_rows(batch_sizes(frame.lengths))
        mine = rows == row
        for one in self._record.fields:
            if not self._good(one, self._tensor(one, frame.data)[mine]).all():
                break
        where = f"row {told}" if self._record.is_plain else f"row {told}, input {one.name!r}"
        if one.num_embeddings:
            return f"{where}: token ids are in [0, {one.num_embeddings}), and one that came is not"
        return f"{where}: a value is NaN or infinite, and refuse_non_finite is set"

    def _tensor(self, one: TensorField, data: Array) -> Array:
        tensor: Array = data if self._record.is_plain else data[one.name]
        return tensor

    def _good(self, one: TensorField, data: Array) -> Flags:
        if one.num_embeddings:
            return np.asarray((data >= 0) & (data < one.num_embeddings))
        if not self._refuse_non_finite:
            return _GOOD
        return np.isfinite(data)
