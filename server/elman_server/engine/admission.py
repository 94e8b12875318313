"""Admission: frames become queued chunks, all of those that arrived together in one go."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_models.layout import batch_sizes, steps_and_rows
from elman_models.state import State
from elman_server.engine.repeats import Repeats
from elman_server.engine.take_in import INVALID, REFUSED, STALE, Arrivals, Rows
from elman_server.errors import Draining, InvalidInput, LimitReached, ServiceError, StaleHandle
from elman_server.exchange.frames import Frame
from elman_server.exchange.result_queue import ResultQueue
from elman_server.models.runtime import Runtime

I64 = NDArray[np.int64]
Flags = NDArray[np.bool_]
Array = NDArray[Any]


class Admission:
    """Admits frames to one runtime's queue, or says why not."""

    def __init__(self, runtime: Runtime, result_queue: ResultQueue) -> None:
        self._runtime = runtime
        self._result_queue = result_queue
        self._repeats = Repeats(runtime, result_queue)

    def admit(self, frames: list[Frame]) -> None:
        """Frames in the order in which they arrived."""
        for group in self._groups(frames):
            self._admit_group(group)

    def admit_infer(self, frame: Frame, initial: State | None) -> None:
        """A frame of `Infer`: its rows borrow slots, from `initial` [state_layers, K, ...] or zeros.

        Raises:
            InvalidInput: a value is not finite, or a token id out of range.
            LimitReached: too many rows wait.
        """
        runtime = self._runtime
        self._check_infer(frame)
        slots = runtime.sessions.take(frame.num_rows, frame.arrived)
        runtime.borrowed += frame.num_rows
        if initial is None:
            runtime.pool.reset(slots)
        else:
            c = None if initial.c is None else initial.c.to(runtime.device)
            runtime.pool.replace(slots, State(initial.h.to(runtime.device), c))
        self._take_in(Arrivals([frame], slots), None)

    def _check_infer(self, frame: Frame) -> None:
        runtime, limit = self._runtime, self._runtime.limits.max_infer_rows
        if runtime.unloading:
            raise Draining(f"model {runtime.spec.name!r} is being unloaded")
        if not self._good_values(frame.data).all():
            bad = _rows_with(frame, ~self._good_values(frame.data))
            raise InvalidInput(self._bad_value(int(bad[0])))
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

    def _groups(self, frames: list[Frame]) -> list[list[Frame]]:
        # Frames go together unless one has chunks longer than a slice: their data outlives that of the others.
        if len(frames) > 1 and any(frame.longest > self._runtime.limits.max_slice for frame in frames):
            return [[frame] for frame in frames]
        return [frames]

    def _admit_group(self, frames: list[Frame]) -> None:
        arrivals = Arrivals(frames)
        for index, error in self._refusals(arrivals).items():
            arrivals.table["refused"][index] = True
            self._runtime.metrics.reject(error.reason, frames[index].num_rows)
            self._result_queue.refuse(frames[index], error)
        barred = None if self._good_values(arrivals.data).all() else self._barred(frames)
        rows = self._take_in(arrivals, barred)
        if rows.num_taken < len(rows.outcome):
            for r in np.flatnonzero(rows.outcome > REFUSED).tolist():
                self._answer_odd(arrivals, rows, r)

    def _take_in(self, arrivals: Arrivals, barred: Flags | None) -> Rows:
        block, arrivals.table["at"] = self._runtime.inputs.add(arrivals.data, arrivals.frames)
        return arrivals.take_in(self._runtime, block, barred)

    def _refusals(self, arrivals: Arrivals) -> dict[int, ServiceError]:
        if not self._runtime.unloading and self.check_room(len(arrivals.lengths), arrivals.data.nbytes) is None:
            return {}
        refused: dict[int, ServiceError] = {}
        rows = num_bytes = 0
        for index, frame in enumerate(arrivals.frames):
            error: ServiceError | None
            if self._runtime.unloading:
                error = Draining(f"model {self._runtime.spec.name!r} is being unloaded")
            else:
                error = self.check_room(frame.num_rows, frame.num_bytes, rows, num_bytes)
            if error:
                refused[index] = error
            else:
                rows, num_bytes = rows + frame.num_rows, num_bytes + frame.num_bytes
        return refused

    def _barred(self, frames: list[Frame]) -> Flags:
        # [R] rows with values that must not be run.
        bad = [np.isin(np.arange(f.num_rows), _rows_with(f, ~self._good_values(f.data))) for f in frames]
        return np.concatenate(bad)

    def _good_values(self, data: Array) -> Flags:
        num_ids = self._runtime.input.num_embeddings
        if num_ids:
            return np.asarray((data >= 0) & (data < num_ids))
        if not self._runtime.limits.refuse_non_finite:
            return np.ones(1, np.bool_)
        return np.isfinite(data)

    def _answer_odd(self, arrivals: Arrivals, rows: Rows, r: int) -> None:
        frame, row = arrivals.frame_of(r)
        try:
            if rows.outcome[r] == STALE:
                raise self._stale(int(frame.handles[row]))
            if rows.outcome[r] == INVALID:
                raise InvalidInput(self._bad_value(row))
            self._repeats.answer(frame, row, int(rows.slots[r]), int(rows.begins[r]), int(rows.admitted[r]))
        except ServiceError as error:
            self._runtime.metrics.reject(error.reason)
            self._result_queue.fail(frame, row, error)

    def _stale(self, handle: int) -> ServiceError:
        expired = self._runtime.tombstones.of_handle(handle)
        return expired or StaleHandle(
            "the handle is stale: the session was attached elsewhere since, or ended, or the handle is of another "
            "server process; attach again"
        )

    def _bad_value(self, row: int) -> str:
        num_ids = self._runtime.input.num_embeddings
        if num_ids:
            return f"row {row}: token ids are in [0, {num_ids}), and one that came is not"
        return f"row {row}: a value is NaN or infinite, and refuse_non_finite is set"


def _rows_with(frame: Frame, flags: Flags) -> I64:
    # Rows of the frame that have a flagged element of its packed tensor.
    _, rows = steps_and_rows(batch_sizes(frame.lengths))
    flagged = flags.reshape(len(rows), -1).any(axis=1)
    return np.unique(rows[flagged])
