"""Admission: frames become queued chunks, all of those that arrived together in one go."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from elman_models.layout import batch_sizes, steps_and_rows
from elman_models.state import State
from elman_server.answers import failure, refusal
from elman_server.delivery import Delivery
from elman_server.errors import (
    Draining,
    InvalidInput,
    LimitReached,
    ServiceError,
    StaleHandle,
)
from elman_server.frames import Frame
from elman_server.repeats import Repeats
from elman_server.runtime import Runtime

I64 = NDArray[np.int64]
Flags = NDArray[np.bool_]
Array = NDArray[Any]
T = TypeVar("T", bound=np.generic)

RETRY_SECONDS = 0.05
"""What a caller refused for a full queue is told to wait: some dozens of batches."""


@dataclass(slots=True)
class Rows:
    """The rows of frames, as columns."""

    frames: Sequence[Frame]
    of: I64  # [R] index into `frames`
    row: I64  # [R] row of that frame
    slots: I64  # [R]
    begins: I64  # [R] position of each chunk's first step
    lengths: I64  # [R]

    def only(self, which: Flags) -> "Rows":
        """Some of the rows."""
        return Rows(
            self.frames, self.of[which], self.row[which], self.slots[which], self.begins[which], self.lengths[which]
        )


class Admission:
    """Admits frames to one runtime's queue, or says why not."""

    def __init__(self, runtime: Runtime, delivery: Delivery) -> None:
        self._runtime = runtime
        self._delivery = delivery
        self._repeats = Repeats(runtime, delivery)

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
        zeros = np.zeros(frame.num_rows, np.int64)
        rows = Rows([frame], zeros, np.arange(frame.num_rows), slots, zeros, frame.lengths)
        self._enqueue(rows, frame.data)

    def _check_infer(self, frame: Frame) -> None:
        runtime, limit = self._runtime, self._runtime.limits.max_infer_rows
        if runtime.unloading:
            raise Draining(f"model {runtime.spec.name!r} is being unloaded")
        if not self._good_values(frame.data).all():
            bad = _rows_with(frame, ~self._good_values(frame.data))
            raise InvalidInput(self._bad_value(int(bad[0])))
        if runtime.borrowed + frame.num_rows > limit:
            raise LimitReached(
                f"max_infer_rows is {limit}: {runtime.borrowed} run and {frame.num_rows} came",
                metadata={"limit": "max_infer_rows", "value": limit},
                retry_seconds=RETRY_SECONDS if frame.num_rows <= limit else None,
            )
        error = self.check_room(frame.num_rows, frame.data.nbytes)
        if error:
            raise error

    def check_room(self, rows: int, num_bytes: int, rows_before: int = 0, bytes_before: int = 0) -> LimitReached | None:
        """Why that much more may not wait, if it may not; `..._before`: what comes with it and goes first."""
        runtime, limits = self._runtime, self._runtime.limits
        for name, limit, now, more in (
            ("max_queue_rows", limits.max_queue_rows, runtime.queue_rows + rows_before, rows),
            ("max_queue_bytes", limits.max_queue_bytes, runtime.queue_bytes + bytes_before, num_bytes),
        ):
            if now + more > limit:
                text = f"{name} is {limit}: {now} wait and {more} came"
                retry = RETRY_SECONDS if more <= limit else None
                return LimitReached(text, metadata={"limit": name, "value": limit}, retry_seconds=retry)
        return None

    def _groups(self, frames: list[Frame]) -> list[list[Frame]]:
        # Frames go together unless a session stands in two of them (its position depends on the earlier one), or one
        # has chunks longer than a slice (their data outlives that of the others).
        if len(frames) == 1:
            return [frames]
        handles = np.concatenate([frame.handles for frame in frames])
        alone = len(np.unique(handles)) < len(handles)
        if alone or any(frame.lengths[0] > self._runtime.limits.max_slice for frame in frames):
            return [[frame] for frame in frames]
        return [frames]

    def _admit_group(self, frames: list[Frame]) -> None:
        rows, good = self._resolve(frames)
        refused = self._refusals(frames)
        for index, error in refused.items():
            self._runtime.metrics.reject(error.reason, frames[index].num_rows)
            self._delivery.answer(frames[index], refusal(error))
            good &= rows.of != index
        data = _join([frame.data for frame in frames])
        valid = self._valid(rows, data)
        ready = good & valid & (rows.begins == self._runtime.sessions.admitted[rows.slots])
        odd = np.flatnonzero(~ready)
        for r in odd.tolist():
            if int(rows.of[r]) not in refused:
                self._answer_odd(rows, r, bool(good[r]), bool(valid[r]))
        accepted = rows.only(ready) if odd.size else rows
        if accepted.of.size:
            self._touch(accepted)
            self._enqueue(accepted, data)

    def _resolve(self, frames: list[Frame]) -> tuple[Rows, Flags]:
        sessions = self._runtime.sessions
        counts = [frame.num_rows for frame in frames]
        of = np.repeat(np.arange(len(frames)), counts)
        row = np.concatenate([np.arange(count) for count in counts]) if len(frames) > 1 else np.arange(counts[0])
        slots, good = sessions.resolve(_join([frame.handles for frame in frames]))
        begins = sessions.admitted[slots]
        implied = ~sessions.broken[slots]
        if any(frame.positions is not None for frame in frames):
            given = [begins[of == k] if f.positions is None else f.positions for k, f in enumerate(frames)]
            named = np.repeat([frame.positions is not None for frame in frames], counts)
            begins, implied = _join(given), implied | named
        # An implied position of a broken session matches nothing: it is answered as an odd row.
        begins = np.where(implied, begins, -1)
        return Rows(frames, of, row, slots, begins, _join([frame.lengths for frame in frames])), good

    def _refusals(self, frames: list[Frame]) -> dict[int, ServiceError]:
        rows, num_bytes = sum(frame.num_rows for frame in frames), sum(frame.data.nbytes for frame in frames)
        if not self._runtime.unloading and self.check_room(rows, num_bytes) is None:
            return {}
        refused: dict[int, ServiceError] = {}
        rows = num_bytes = 0
        for index, frame in enumerate(frames):
            error: ServiceError | None
            if self._runtime.unloading:
                error = Draining(f"model {self._runtime.spec.name!r} is being unloaded")
            else:
                error = self.check_room(frame.num_rows, frame.data.nbytes, rows, num_bytes)
            if error:
                refused[index] = error
            else:
                rows, num_bytes = rows + frame.num_rows, num_bytes + frame.data.nbytes
        return refused

    def _valid(self, rows: Rows, data: Array) -> Flags:
        # [R] rows whose values may be run; looked at one by one only where something is wrong.
        valid = np.ones(len(rows.of), np.bool_)
        if not self._good_values(data).all():
            for k, frame in enumerate(rows.frames):
                bad = _rows_with(frame, ~self._good_values(frame.data))
                valid &= (rows.of != k) | ~np.isin(rows.row, bad)
        return valid

    def _good_values(self, data: Array) -> Flags:
        num_ids = self._runtime.input.num_embeddings
        if num_ids:
            return np.asarray((data >= 0) & (data < num_ids))
        if not self._runtime.limits.refuse_non_finite:
            return np.ones(1, np.bool_)
        return np.isfinite(data)

    def _touch(self, rows: Rows) -> None:
        sessions = self._runtime.sessions
        now = rows.frames[0].arrived
        begun = rows.slots[rows.begins > 0]
        self._runtime.metrics.reuse_gap.observe_all(now - sessions.used[begun])
        sessions.used[rows.slots] = now
        sessions.broken[rows.slots] = False

    def _enqueue(self, rows: Rows, data: Array) -> None:
        runtime, chunks = self._runtime, self._runtime.scheduler.chunks
        counts = np.bincount(rows.of, minlength=len(rows.frames))
        opened = [runtime.frames.put(f, int(n)) if n else -1 for f, n in zip(rows.frames, counts, strict=True)]
        block, begins = runtime.inputs.add(data, rows.frames, len(rows.of))
        numbers = chunks.take(len(rows.of))
        chunks.slot[numbers] = rows.slots
        chunks.begin[numbers] = rows.begins
        chunks.length[numbers] = rows.lengths
        chunks.kind[numbers] = np.array([frame.kind for frame in rows.frames])[rows.of]
        chunks.deadline[numbers] = np.array([frame.deadline for frame in rows.frames])[rows.of]
        chunks.arrived[numbers] = np.array([frame.arrived for frame in rows.frames])[rows.of]
        chunks.frame[numbers] = np.array(opened)[rows.of]
        chunks.row[numbers] = rows.row
        chunks.block[numbers] = block
        chunks.at[numbers] = begins[rows.of]
        chunks.source[numbers] = rows.row
        runtime.sessions.admitted[rows.slots] += rows.lengths
        runtime.queue_bytes += int(rows.lengths.sum()) * runtime.input.num_bytes
        runtime.scheduler.enqueue(numbers)

    def _answer_odd(self, rows: Rows, r: int, good: bool, valid: bool) -> None:
        frame, row = rows.frames[int(rows.of[r])], int(rows.row[r])
        try:
            if not good:
                raise self._stale(int(frame.handles[row]))
            if not valid:
                raise InvalidInput(self._bad_value(row))
            self._repeats.answer(frame, row, int(rows.slots[r]), int(rows.begins[r]), int(rows.lengths[r]))
        except ServiceError as error:
            self._runtime.metrics.reject(error.reason)
            self._delivery.answer(frame, failure(((row, error),)))

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


def _join(columns: Sequence[NDArray[T]]) -> NDArray[T]:
    return columns[0] if len(columns) == 1 else np.concatenate(columns)


def _rows_with(frame: Frame, flags: Flags) -> I64:
    # Rows of the frame that have a flagged element of its packed tensor.
    _, rows = steps_and_rows(batch_sizes(frame.lengths))
    flagged = flags.reshape(len(rows), -1).any(axis=1)
    return np.unique(rows[flagged])
