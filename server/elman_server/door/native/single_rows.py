"""Frames of one row each, of many streams: taken in together, and answered together.

The native door hands over what has come as columns (`elman_native.FrameBatch`). All that can go together, which is
nearly always all, is one frame of the engine's; its answer goes back as columns. Nothing is done per message here.
"""

import math
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from elman_server.door.elman_v1.status import code_of
from elman_server.door.elman_v1.write import write_answer
from elman_server.door.native.merged_frames import (
    Columns,
    Kind,
    MergedFrame,
    fits_columns,
    gathered,
    groups,
    has_room,
    sizes_of,
    want_of,
)
from elman_server.door.native.port import NativePort, NativeStreamCall
from elman_server.door.native.read_ahead import ReadAhead
from elman_server.door.native.row_columns import are_well_formed, sent_of, sums_by_caller
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
        self, port: NativePort, engine: EnginePort, catalogue: ServedModels, metrics: Metrics, read_ahead: ReadAhead
    ) -> None:
        self._door = port.door
        self._engine = engine
        self._catalogue = catalogue
        self._metrics = metrics
        self._streams: dict[int, Stream] = {}  # by call
        self.read_ahead = read_ahead
        """Whose streams these are."""
        self._open: set[MergedFrame] = set()
        self.draining = False
        """Whether what comes is refused, stream by stream."""
        port.on_frames = self._take

    def join(self, call: NativeStreamCall, stream: Stream) -> None:
        """From now on the call's frames of one row come this way; what is none goes to the stream by itself."""
        self._streams[call.number] = stream

    def leave(self, call: NativeStreamCall) -> None:
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
            for number, num_taken, _ in sums_by_caller(columns["caller"], columns["num_bytes"]).tolist():
                caller = self.read_ahead.caller(number)
                if caller is not None:
                    self.read_ahead.settle(caller, num_taken)

    def _take_groups(self, batch: "FrameBatch", columns: dict[str, NDArray[Any]], models: I64, now: float) -> None:
        for rows, kind in groups(columns, models):
            worker = self._engine.worker(kind.model)
            good = self._good(columns, rows, kind, worker)
            if len(good.nonzero()[0]) < len(rows):
                for row in rows[~good].tolist():
                    self._take_alone(batch, row, int(columns["call"][row]))
                rows = rows[good]
            if worker is not None and len(rows):
                if worker.runtime.sessions.num_ending:
                    self._note_driven(columns, rows, worker)
                self._submit(batch, columns, rows, kind, worker, now)

    def _note_driven(self, columns: dict[str, NDArray[Any]], rows: I64, worker: ServedModel) -> None:
        driven = set(worker.runtime.sessions.driven(columns["handle"][rows]).tolist())
        for handle, call in zip(columns["handle"][rows].tolist(), columns["call"][rows].tolist(), strict=True):
            if handle in driven:
                self._streams[call].drive(handle)

    @property
    def _is_open(self) -> bool:
        return not self.draining and self._engine.failure is None

    def _good(self, columns: dict[str, NDArray[Any]], rows: I64, kind: Kind, worker: ServedModel | None) -> Flags:
        # [n] frames with which nothing is wrong; the others are looked at one by one.
        if worker is None or not (self._is_open and _fits(kind, worker)):
            return np.zeros(len(rows), np.bool_)
        spec, max_bytes = worker.runtime.view.input, self._catalogue.limits.max_frame_bytes
        good = are_well_formed(
            rows, columns["dtype"], columns["num_dims"], columns["dim_0"], columns["dim_1"],
            columns["num_bytes"], columns["message_bytes"], spec.wire_dtype, kind.length,
            spec.features[0] if spec.features else 0, kind.length * spec.num_bytes, max_bytes,
        )  # fmt: skip
        calls = columns["call"][rows].tolist()
        if not self._streams.keys() >= set(calls):  # what came before its stream was ended is not run
            good &= np.array([call in self._streams for call in calls])
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
        for number, num_rows, num_bytes in sums_by_caller(frame.columns.callers, columns["num_bytes"][rows]).tolist():
            self.read_ahead.count(number, num_rows, num_bytes)
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
        columns, is_last = frame.columns, frame.want is Want.LAST
        sent = sent_of(
            answer.rows, answer.starts, answer.lengths, answer.finished, answer.positions,
            columns.calls, columns.callers, columns.frame_ids, sizes_of(answer, frame),
            is_last=is_last,
        )  # fmt: skip
        for number, _, num_bytes in sent.debts.tolist():
            self.read_ahead.count(number, 0, num_bytes)
        self._door.answer(
            call=sent.calls,
            caller=sent.callers,
            frame_id=sent.frame_ids,
            start=sent.starts,
            length=answer.lengths,
            finished=sent.finished,
            position=sent.positions,
            num_bytes=sent.num_bytes,
            output=answer.output,
            is_last=is_last,
            h_n=answer.states[0] if answer.states else None,
            c_n=answer.states[1] if len(answer.states) > 1 else None,
        )
        columns.is_open[answer.finished] = False
        self._ended(frame, len(answer.finished), "OK")

    def _refuse(self, frame: MergedFrame, row: int, answer: Answer, error: ServiceError) -> None:
        columns = frame.columns
        call, caller = int(columns.calls[row]), int(columns.callers[row])
        self.read_ahead.count(caller, 0, -columns.row_bytes)
        columns.is_open[row] = False
        self._ended(frame, 1, code_of(error).name if answer.frame_error else "OK")
        message = write_answer(int(columns.frame_ids[row]), answer, None).SerializeToString()
        self._door.answer_frames([(call, caller, message, 1, 0)])

    def _fail(self, frame: MergedFrame, error: Exception) -> None:
        self._end_by(error, frame.columns.calls[frame.columns.is_open])
        self._open.discard(frame)

    def _end_by(self, error: Exception, calls: U64) -> None:
        for call in np.unique(calls).tolist():
            stream = self._streams.get(call)
            if stream is not None:
                stream.meet_bug(error)

    def _ended(self, frame: MergedFrame, count: int, code: str) -> None:
        frame.open_rows -= count
        self._metrics.requests_of_one_arrival("Step", code, self._engine.clock.now() - frame.arrived, count)


def _fits(kind: Kind, worker: ServedModel) -> bool:
    return fits_columns(kind, worker.runtime.view) and has_room(kind, worker)
