"""Frames of one row each, of many streams: taken in together, and answered together.

The native door hands over what has come as columns (`elman_native.FrameBatch`). All that can go together, which is
nearly always all, is one frame of the engine's; its answer goes back as columns. Nothing is done per message here.
"""

import math
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from elman_server.door.caller_limits import Caller, Callers
from elman_server.door.elman_v1.status import code_of
from elman_server.door.elman_v1.write import write_answer
from elman_server.door.merged_frames import (
    Columns,
    Kind,
    MergedFrame,
    fits_columns,
    gathered,
    groups,
    has_room,
    tensor_bytes,
    want_of,
)
from elman_server.door.native_port import NativePort, NativeStreamCall
from elman_server.errors import LimitReached, ServiceError
from elman_server.exchange.answers import Answer, failure, refusal
from elman_server.exchange.frames import Frame, FramePart, Want
from elman_server.exchange.port import EnginePort
from elman_server.exchange.served import ServedModel, ServedModels
from elman_server.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from elman_native import FrameBatch

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
Flags = NDArray[np.bool_]


class Stream(Protocol):
    """A stream whose frames of one row come together with others'."""

    def received(self, data: bytes) -> None:
        """Takes in a message by itself, be it to say what is wrong with it."""
        ...

    def drive(self, handle: int) -> None:
        """It has sent steps of a session that ends with it."""
        ...

    def meet_bug(self, error: Exception) -> None:
        """Ends the stream: its frames met a bug."""
        ...


class SingleRows:
    """Between the native door's columns and the engine; on the engine's thread."""

    def __init__(
        self, port: NativePort, engine: EnginePort, catalogue: ServedModels, metrics: Metrics, callers: Callers
    ) -> None:
        self._door = port.door
        self._engine = engine
        self._catalogue = catalogue
        self._metrics = metrics
        self._streams: dict[int, Stream] = {}  # by call
        self._callers: dict[int, Caller] = {}  # by number
        self._numbers: dict[Caller, int] = {}
        self._full: set[int] = set()  # callers that are read no further
        self._open: set[MergedFrame] = set()
        self.draining = False
        """Whether what comes is refused, stream by stream."""
        callers.on_gone = self._forget
        port.on_frames = self._take
        port.on_sent = self._sent

    def join(self, call: NativeStreamCall, stream: Stream, caller: Caller) -> None:
        """From now on the call's frames come this way; what is no frame of one row goes to the stream by itself."""
        number = self._numbers.get(caller)
        if number is None:
            number = self._numbers[caller] = self._door.add_caller(caller.room)
            self._callers[number] = caller
        self._streams[call.number] = stream
        self._door.begin_frames(call.number, number)

    def leave(self, call: NativeStreamCall, caller: Caller) -> None:
        """The stream is over: what it asked for and has not begun is dropped."""
        if self._streams.pop(call.number, None) is None:
            return
        parts = [
            FramePart(frame, np.flatnonzero(frame.columns.is_open & (frame.columns.calls == call.number)))
            for frame in self._open
        ]
        mine = [part for part in parts if part.rows is not None and len(part.rows)]
        if mine:
            self._engine.cancel(mine)

    def _forget(self, caller: Caller) -> None:
        # It is gone, and nothing of it is open.
        number = self._numbers.pop(caller, None)
        if number is not None:
            del self._callers[number]
            self._full.discard(number)
            self._door.remove_caller(number)

    # ---- what has come

    def _take(self, batch: "FrameBatch") -> None:
        columns = batch.columns()
        models = self._catalogue.key.models(columns["handle"])
        now = self._engine.clock.now()
        try:
            self._take_groups(batch, columns, models, now)
        except Exception as error:  # noqa: BLE001 - it ends the streams, and is told there
            self._end_by(error, columns["call"])
        finally:
            for number, num_taken in Counter(columns["caller"].tolist()).items():
                if number in self._callers:
                    self.settle(self._callers[number], num_taken)

    def _take_groups(self, batch: "FrameBatch", columns: dict[str, NDArray[Any]], models: I64, now: float) -> None:
        for rows, kind in groups(columns, models):
            worker = self._engine.worker(kind.model)
            if worker is None or not (self._is_open and _fits(kind, worker)):
                good = np.zeros(len(rows), np.bool_)
            else:
                good = self._good(columns, rows, kind, worker)
            for row in rows[~good].tolist():
                self._take_alone(batch, row, int(columns["call"][row]))
            if worker is not None and good.any():
                if worker.runtime.sessions.num_ending:
                    self._note_driven(columns, rows[good], worker)
                self._submit(batch, columns, rows[good], kind, worker, now)

    def _note_driven(self, columns: dict[str, NDArray[Any]], rows: I64, worker: ServedModel) -> None:
        driven = set(worker.runtime.sessions.driven(columns["handle"][rows]).tolist())
        for handle, call in zip(columns["handle"][rows].tolist(), columns["call"][rows].tolist(), strict=True):
            if handle in driven:
                self._streams[call].drive(handle)

    @property
    def _is_open(self) -> bool:
        return not self.draining and self._engine.failure is None

    def _good(self, columns: dict[str, NDArray[Any]], rows: I64, kind: Kind, worker: ServedModel) -> Flags:
        # [n] frames with which nothing is wrong; the others are looked at one by one.
        spec, limits = worker.runtime.view.input, self._catalogue.limits
        good: Flags = columns["dtype"][rows] == spec.wire_dtype
        good &= columns["num_bytes"][rows] == kind.length * spec.num_bytes
        good &= columns["message_bytes"][rows] <= limits.max_frame_bytes
        good &= columns["num_dims"][rows] == 1 + len(spec.features)
        good &= columns["dim_0"][rows] == kind.length
        if spec.features:
            good &= columns["dim_1"][rows] == spec.features[0]
        # What came before its stream was ended is not run.
        good &= np.array([call in self._streams for call in columns["call"][rows].tolist()])
        return good

    def _take_alone(self, batch: "FrameBatch", row: int, call: int) -> None:
        self._door.uncount_frame(call)
        stream = self._streams.get(call)
        if stream is not None:
            stream.received(batch.message(row))

    def _submit(
        self,
        batch: "FrameBatch",
        columns: dict[str, NDArray[Any]],
        rows: I64,
        kind: Kind,
        worker: ServedModel,
        now: float,
    ) -> None:
        positions = columns["position"][rows]
        frame = MergedFrame(
            frame_id=0,
            handles=columns["handle"][rows],
            lengths=columns["length"][rows],
            positions=positions,
            view=worker.runtime.view,
            data=gathered(batch, rows, kind.length, worker),
            want=want_of(kind),
            want_state=bool(kind.return_state),
            deadline=math.inf,  # each row has its own
            sink=self,
            arrived=now,
            open_rows=len(rows),
            columns=Columns(
                calls=columns["call"][rows],
                callers=columns["caller"][rows],
                frame_ids=columns["frame_id"][rows],
                deadlines=now + columns["timeout_seconds"][rows],
                is_open=np.ones(len(rows), np.bool_),
                row_bytes=kind.length * worker.runtime.view.input.num_bytes,
            ),
        )
        self._open.add(frame)
        row_bytes = frame.columns.row_bytes
        self._charge(frame.columns.callers, np.ones(len(rows), np.int64), np.full(len(rows), row_bytes))
        self._engine.submit(worker, frame)

    # ---- what is answered

    def on_result(self, frame: Frame, answer: Answer) -> None:
        """Sends each row of an answer of the engine's to its stream."""
        merged = cast(MergedFrame, frame)
        if merged not in self._open:  # it was ended with the engine
            return
        try:
            self._deliver(merged, answer)
        except Exception as error:  # noqa: BLE001 - it ends the streams, and is told there
            self._fail(merged, error)

    def on_bug(self, frame: Frame, error: Exception) -> None:
        """Ends the streams of all rows that are open."""
        self._fail(cast(MergedFrame, frame), error)

    def fail(self, error: ServiceError) -> None:
        """Ends all rows that are open: the engine answers no more."""
        for frame in list(self._open):
            rows = np.flatnonzero(frame.columns.is_open).tolist()
            self.on_result(frame, failure(tuple((row, error) for row in rows)))

    def _deliver(self, frame: MergedFrame, answer: Answer) -> None:
        if answer.frame_error is not None:
            for row in np.flatnonzero(frame.columns.is_open).tolist():
                self._refuse(frame, row, refusal(answer.frame_error), answer.frame_error)
        if len(answer.lengths):
            self._answer(frame, answer)
        for row, error in answer.errors:
            # What no queue had room for is a frame refused, as it is where a frame comes alone.
            is_whole = isinstance(error, LimitReached)
            self._refuse(frame, row, refusal(error) if is_whole else failure(((0, error),)), error)
        if not frame.open_rows:
            self._open.discard(frame)

    def _answer(self, frame: MergedFrame, answer: Answer) -> None:
        rows = np.arange(frame.num_rows) if answer.rows is None else answer.rows
        finished = np.isin(rows, answer.finished)
        positions = np.zeros(len(rows), np.int64)
        positions[finished] = answer.positions
        num_bytes = tensor_bytes(answer, finished, frame.want)
        calls, callers = frame.columns.calls[rows], frame.columns.callers[rows]
        self._charge(callers, np.zeros(len(rows), np.int64), num_bytes - finished * frame.columns.row_bytes)
        self._door.answer(
            call=calls,
            caller=callers,
            frame_id=frame.columns.frame_ids[rows],
            start=np.zeros(len(rows), np.int64) if answer.starts is None else answer.starts,
            length=answer.lengths,
            finished=finished,
            position=positions,
            num_bytes=num_bytes,
            output=answer.output,
            is_last=frame.want is Want.LAST,
            h_n=answer.states[0] if answer.states else None,
            c_n=answer.states[1] if len(answer.states) > 1 else None,
        )
        self._end(frame, rows[finished], "OK")

    def _refuse(self, frame: MergedFrame, row: int, answer: Answer, error: ServiceError) -> None:
        columns = frame.columns
        call, caller = int(columns.calls[row]), int(columns.callers[row])
        self._charge(columns.callers[row : row + 1], np.zeros(1, np.int64), np.array([-columns.row_bytes]))
        self._end(frame, np.array([row]), code_of(error).name if answer.frame_error else "OK")
        message = write_answer(int(columns.frame_ids[row]), answer, None).SerializeToString()
        self._door.answer_frame(call, caller, message, 1, 0)

    def _fail(self, frame: MergedFrame, error: Exception) -> None:
        self._end_by(error, frame.columns.calls[frame.columns.is_open])
        self._open.discard(frame)

    def _end_by(self, error: Exception, calls: U64) -> None:
        for call in np.unique(calls).tolist():
            stream = self._streams.get(call)
            if stream is not None:
                stream.meet_bug(error)

    def _end(self, frame: MergedFrame, rows: I64, code: str) -> None:
        frame.open_rows -= len(rows)
        frame.columns.is_open[rows] = False
        self._metrics.requests_of_one_arrival("Step", code, self._engine.clock.now() - frame.arrived, len(rows))

    # ---- what counts against whom

    def _charge(self, callers: I64, rows: I64, num_bytes: I64) -> None:
        for number in np.unique(callers).tolist():
            mine = callers == number
            self._count(number, int(rows[mine].sum()), int(num_bytes[mine].sum()))

    def _count(self, number: int, rows: int, num_bytes: int) -> None:
        caller = self._callers.get(number)
        if caller is None:
            return
        caller.add(rows, num_bytes)

    def settle(self, caller: Caller, num_taken: int = 0) -> None:
        """Has the door read as much more of the caller as it has room for; so many messages more were taken in."""
        number, room = self._numbers.get(caller), caller.room
        if number is None:  # it is gone
            return
        self._door.set_room(number, room, num_taken)
        if not room and number not in self._full:
            self._full.add(number)
            caller.when_room(partial(self._read_on, number, caller))

    def _read_on(self, number: int, caller: Caller) -> None:
        self._full.discard(number)
        if number in self._callers:
            self.settle(caller)

    def _sent(self, sent: list[tuple[int, int, int]]) -> None:
        for number, rows, num_bytes in sent:
            self._count(number, -rows, -num_bytes)


def _fits(kind: Kind, worker: ServedModel) -> bool:
    return fits_columns(kind, worker.runtime.view) and has_room(kind, worker)
