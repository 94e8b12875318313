"""Frames of one row each, of many streams: taken in together, and answered together.

The native door hands over what has come as columns (`elman_native.FrameBatch`). All that can go together, which is
nearly always all, is one frame of the engine's; its answer goes back as columns. Nothing is done per message here.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from elman.v1 import tensor_pb2
from elman_server.answers import Answer, failure, refusal
from elman_server.callers import Caller
from elman_server.catalog import Catalog
from elman_server.engine import Engine
from elman_server.errors import ServiceError
from elman_server.frames import Frame, FramePart, Want
from elman_server.metrics import Metrics
from elman_server.reading import MAX_ANSWER_BYTES
from elman_server.rpc.native import NativeCall, NativeTransport
from elman_server.status import code_of
from elman_server.worker import Worker
from elman_server.writing import write_answer

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

    def meet_bug(self, error: Exception) -> None:
        """Ends the stream: its frames met a bug."""
        ...


@dataclass(slots=True, eq=False)
class MergedFrame(Frame):
    """One frame of the engine's, made of K frames of one row; K entries in each column."""

    columns: "_Columns" = field(kw_only=True)

    @property
    def owners(self) -> U64:
        """[K] the call of each row."""
        return self.columns.calls

    @property
    def deadlines(self) -> F64:
        """[K] each row's deadline."""
        return self.columns.deadlines


class _Columns(NamedTuple):
    """Of the K frames that are one; K entries each."""

    calls: U64
    callers: I64
    frame_ids: U64
    deadlines: F64
    """Seconds on the engine's clock."""
    is_open: Flags
    """Whose answer is not whole yet."""
    row_bytes: int
    """Of one row's input."""


class _Kind(NamedTuple):
    """What frames that go together have in common."""

    model: int
    length: int
    return_output: int
    return_state: int

    @classmethod
    def of(cls, key: I64) -> "_Kind":
        """`key`: [4] these as numbers."""
        model, length, return_output, return_state = key.tolist()
        return cls(model, length, return_output, return_state)


class SingleRows:
    """Between the native door's columns and the engine; on the event loop's thread."""

    def __init__(self, transport: NativeTransport, engine: Engine, catalog: Catalog, metrics: Metrics) -> None:
        self._door = transport.door
        self._engine = engine
        self._catalog = catalog
        self._metrics = metrics
        self._streams: dict[int, Stream] = {}  # by call
        self._callers: dict[int, Caller] = {}  # by number
        self._numbers: dict[Caller, int] = {}
        self._joined: Counter[int] = Counter()  # streams by caller
        self._rows: Counter[int] = Counter()  # of these frames, not ended or not written, by caller
        self._full: set[int] = set()  # callers that are read no further
        self._open: set[MergedFrame] = set()
        self.draining = False
        """Whether what comes is refused, stream by stream."""
        transport.on_frames = self._take
        transport.on_sent = self._sent

    def join(self, call: NativeCall, stream: Stream, caller: Caller) -> None:
        """From now on the call's frames come this way; what is no frame of one row goes to the stream by itself."""
        number = self._numbers.get(caller)
        if number is None:
            number = self._numbers[caller] = self._door.add_caller(caller.room)
            self._callers[number] = caller
        self._streams[call.number] = stream
        self._joined[number] += 1
        self._door.begin_frames(call.number, number)

    def leave(self, call: NativeCall, caller: Caller) -> None:
        """The stream is over: what it asked for and has not begun is dropped."""
        if self._streams.pop(call.number, None) is None:
            return
        parts = [
            FramePart(frame, np.flatnonzero(frame.columns.is_open & (frame.columns.calls == call.number)))
            for frame in self._open
        ]
        self._engine.cancel([part for part in parts if part.rows is not None and len(part.rows)])
        number = self._numbers[caller]
        self._joined[number] -= 1
        self._forget_if_done(number)

    def _forget_if_done(self, number: int) -> None:
        caller = self._callers[number]
        if not (self._joined[number] or self._rows[number]):
            del self._callers[number], self._numbers[caller], self._joined[number], self._rows[number]
            self._full.discard(number)
            self._door.remove_caller(number)

    # ---- what has come

    def _take(self, batch: "FrameBatch") -> None:
        columns = batch.columns()
        models = self._catalog.key.models(columns["handle"])
        now = self._engine.clock.now()
        try:
            self._take_groups(batch, columns, models, now)
        finally:
            for number in np.unique(columns["caller"]).tolist():
                if number in self._callers:
                    self.settle(self._callers[number])

    def _take_groups(self, batch: "FrameBatch", columns: dict[str, NDArray[Any]], models: I64, now: float) -> None:
        for rows, kind in _groups(columns, models):
            worker = self._catalog.worker(kind.model)
            if worker is None or self.draining or not _has_room(kind, worker):
                good = np.zeros(len(rows), np.bool_)
            else:
                good = self._good(columns, rows, kind, worker)
            for row in rows[~good].tolist():
                self._take_alone(batch, row, int(columns["call"][row]))
            if worker is not None and good.any():
                self._submit(batch, columns, rows[good], kind, worker, now)

    def _good(self, columns: dict[str, NDArray[Any]], rows: I64, kind: _Kind, worker: Worker) -> Flags:
        # [n] frames with which nothing is wrong; the others are looked at one by one.
        spec, limits = worker.runtime.input, self._catalog.limits
        good: Flags = columns["dtype"][rows] == spec.wire_dtype
        good &= columns["num_bytes"][rows] == kind.length * spec.num_bytes
        good &= columns["message_bytes"][rows] <= limits.max_frame_bytes
        good &= columns["num_dims"][rows] == 1 + len(spec.features)
        good &= columns["dim_0"][rows] == kind.length
        if spec.features:
            good &= columns["dim_1"][rows] == spec.features[0]
        return good

    def _take_alone(self, batch: "FrameBatch", row: int, call: int) -> None:
        self._door.uncount_frame(call)
        stream = self._streams.get(call)
        if stream is not None:
            stream.received(batch.message(row))

    def _submit(
        self, batch: "FrameBatch", columns: dict[str, NDArray[Any]], rows: I64, kind: _Kind, worker: Worker, now: float
    ) -> None:
        positions = columns["position"][rows]
        frame = MergedFrame(
            frame_id=0,
            handles=columns["handle"][rows],
            lengths=columns["length"][rows],
            positions=positions,
            data=_gathered(batch, rows, kind.length, worker),
            want=_want(kind),
            want_state=bool(kind.return_state),
            deadline=math.inf,  # each row has its own
            asker=self,
            arrived=now,
            open_rows=len(rows),
            columns=_Columns(
                calls=columns["call"][rows],
                callers=columns["caller"][rows],
                frame_ids=columns["frame_id"][rows],
                deadlines=now + columns["timeout_seconds"][rows],
                is_open=np.ones(len(rows), np.bool_),
                row_bytes=kind.length * worker.runtime.input.num_bytes,
            ),
        )
        self._open.add(frame)
        row_bytes = frame.columns.row_bytes
        self._charge(frame.columns.callers, np.ones(len(rows), np.int64), np.full(len(rows), row_bytes))
        self._engine.submit(worker, frame)

    # ---- what is answered

    def deliver(self, frame: Frame, answer: Answer) -> None:
        """Sends each row of an answer of the engine's to its stream."""
        merged = cast(MergedFrame, frame)
        try:
            self._deliver(merged, answer)
        except Exception as error:  # noqa: BLE001 - it ends the streams, and is told there
            self._fail(merged, error)

    def fail(self, error: ServiceError) -> None:
        """Ends all rows that are open: the engine answers no more."""
        for frame in list(self._open):
            rows = np.flatnonzero(frame.columns.is_open).tolist()
            self.deliver(frame, failure(tuple((row, error) for row in rows)))

    def _deliver(self, frame: MergedFrame, answer: Answer) -> None:
        if answer.frame_error is not None:
            for row in np.flatnonzero(frame.columns.is_open).tolist():
                self._refuse(frame, row, refusal(answer.frame_error), answer.frame_error)
        for row, error in answer.errors:
            self._refuse(frame, row, failure(((0, error),)), error)
        if len(answer.lengths):
            self._answer(frame, answer)
        if not frame.open_rows:
            self._open.discard(frame)

    def _answer(self, frame: MergedFrame, answer: Answer) -> None:
        rows = np.arange(frame.num_rows) if answer.rows is None else answer.rows
        finished = np.isin(rows, answer.finished)
        positions = np.zeros(len(rows), np.int64)
        positions[finished] = answer.positions
        num_bytes = _bytes_of(answer, finished, frame.want)
        calls, callers = frame.columns.calls[rows], frame.columns.callers[rows]
        self._charge(callers, np.zeros(len(rows), np.int64), num_bytes - finished * frame.columns.row_bytes)
        self._end(frame, rows[finished], "OK")
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
            h_n=answer.h_n,
            c_n=answer.c_n,
        )

    def _refuse(self, frame: MergedFrame, row: int, answer: Answer, error: ServiceError) -> None:
        columns = frame.columns
        call, caller = int(columns.calls[row]), int(columns.callers[row])
        self._charge(columns.callers[row : row + 1], np.zeros(1, np.int64), np.array([-columns.row_bytes]))
        self._end(frame, np.array([row]), code_of(error).name if answer.frame_error else "OK")
        message = write_answer(int(columns.frame_ids[row]), answer).SerializeToString()
        self._door.answer_frame(call, caller, message, 1, 0)

    def _fail(self, frame: MergedFrame, error: Exception) -> None:
        for call in np.unique(frame.columns.calls[frame.columns.is_open]).tolist():
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
        self._rows[number] += rows
        caller.add(rows, num_bytes)

    def settle(self, caller: Caller) -> None:
        """Has the door read as much more of the caller as it has room for."""
        number, room = self._numbers[caller], caller.room
        self._door.set_room(number, room)
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
            if number in self._callers:
                self._forget_if_done(number)


def _has_room(kind: _Kind, worker: Worker) -> bool:
    """Whether one message holds an answer."""
    runtime = worker.runtime
    steps = {Want.ALL: min(kind.length, runtime.limits.max_slice), Want.LAST: 1, Want.NONE: 0}[_want(kind)]
    states = runtime.spec.state_numel if kind.return_state else 0
    return 4 * (steps * runtime.spec.output_size + states) <= MAX_ANSWER_BYTES


def _want(kind: _Kind) -> Want:
    return Want(kind.return_output or tensor_pb2.RETURN_ALL)


def _groups(columns: dict[str, NDArray[Any]], models: I64) -> Iterator[tuple[I64, _Kind]]:
    """The frames that go together: of one model, length and answer. Those of one session stay in their order."""
    keys = np.stack(
        [models, columns["length"], columns["return_output"], columns["return_state"].astype(np.int64)], axis=1
    )
    if (keys == keys[0]).all():
        yield np.arange(len(keys)), _Kind.of(keys[0])
        return
    for turn in _turns(columns["handle"]):
        rows: dict[_Kind, list[int]] = {}
        for row in turn.tolist():
            rows.setdefault(_Kind.of(keys[row]), []).append(row)
        for kind, mine in rows.items():
            yield np.array(mine), kind


def _turns(handles: U64) -> Iterator[I64]:
    """Frames by how many of the same session came before: they must not overtake each other."""
    order = np.argsort(handles, kind="stable")
    same = handles[order]
    first = np.flatnonzero(np.r_[True, same[1:] != same[:-1]])
    turn = np.empty(len(handles), np.int64)
    turn[order] = np.arange(len(handles)) - np.repeat(first, np.diff(np.r_[first, len(handles)]))
    for number in range(int(turn.max()) + 1):
        yield np.flatnonzero(turn == number)


def _gathered(batch: "FrameBatch", rows: I64, length: int, worker: Worker) -> NDArray[Any]:
    """[length * K, *features] the frames' input, packed."""
    spec = worker.runtime.input
    raw = np.empty((len(rows), length * spec.num_bytes), np.uint8)
    batch.gather(rows, raw)
    data = raw.view(spec.dtype.newbyteorder("<")).reshape(len(rows), length, *spec.features)
    return data.swapaxes(0, 1).reshape(length * len(rows), *spec.features)


def _bytes_of(answer: Answer, finished: Flags, want: Want) -> I64:
    """[n] bytes of each row's tensors."""
    num_bytes = np.zeros(len(finished), np.int64)
    if answer.output is not None:
        row_bytes = answer.output.shape[1] * answer.output.itemsize
        num_bytes += row_bytes * (finished if want is Want.LAST else answer.lengths)
    for state in (answer.h_n, answer.c_n):
        if state is not None and len(answer.finished):
            num_bytes += finished * (state.nbytes // len(answer.finished))
    return num_bytes
