"""One `Step` stream: frames in, results out, each frame's rows ended exactly once."""

from typing import NamedTuple, cast

import numpy as np

from elman.v1.inference_pb2 import StepRequest
from elman_server.door.caller_limits import Caller
from elman_server.door.elman_v1.read import check_answer, check_size, read_frame, read_handles
from elman_server.door.elman_v1.status import code_of
from elman_server.door.elman_v1.write import write_answer
from elman_server.door.native.port import NativeStreamCall
from elman_server.door.native.read_ahead import ReadAhead
from elman_server.door.native.single_rows import SingleRows
from elman_server.door.open_frames import OpenFrames
from elman_server.door.rpc.call import StreamCall
from elman_server.door.stream import Stream
from elman_server.errors import Draining, EngineFailed, InvalidInput, LimitReached, ReAttach, ServiceError, StaleHandle
from elman_server.exchange.answers import Answer, failure, refusal
from elman_server.exchange.frames import Frame, FramePart
from elman_server.exchange.model_view import ModelView
from elman_server.exchange.port import EnginePort
from elman_server.exchange.served import ServedModel, ServedModels
from elman_server.telemetry.metrics import Metrics
from elman_server.threads.clock import Clock


class Reply(NamedTuple):
    """What is to be written."""

    frame_id: int
    answer: Answer
    view: ModelView | None
    """Of the model whose tensors the answer has."""
    num_rows: int
    """Rows of the caller's that end with it."""


class StepStream(Stream[Reply]):
    """Reads frames into the engine and writes what comes back; on the engine's thread."""

    def __init__(
        self,
        call: StreamCall,
        engine: EnginePort,
        catalogue: ServedModels,
        caller: Caller,
        instance: str,
        metrics: Metrics,
        single_rows: SingleRows | None = None,
    ) -> None:
        """`single_rows`: takes its frames of one row, where the call is of the native door."""
        super().__init__(call, caller, single_rows.read_ahead if single_rows else None)
        self._single_rows = single_rows
        self._waits_for_idle = False
        self._is_idle = single_rows is None
        self._engine = engine
        self._catalogue = catalogue
        self._instance = instance
        self._metrics = metrics
        self._clock: Clock = engine.clock
        self._limits = catalogue.limits
        self._open = OpenFrames()
        self._driven: set[int] = set()  # handles of sessions that end with it

    def on_result(self, frame: Frame, answer: Answer) -> None:
        """Queues an answer of the engine's."""
        if frame not in self._open:
            return  # the engine failed meanwhile, and so its caller was told
        ended = self._open.take(frame, answer)
        if frame.open_rows:
            self._answer(frame.frame_id, answer, ended, 0, frame.view)
            return
        seconds = self._clock.now() - frame.arrived
        self._answer(frame.frame_id, answer, ended, frame.num_bytes, frame.view)  # whose bytes no longer count
        self._count(answer.frame_error, seconds)

    def fail(self, error: EngineFailed) -> None:
        """Ends all rows that are open: the engine answers no more."""
        for frame, rows in self._open.left():
            self.on_result(frame, failure(tuple((row, error) for row in rows)))

    def received(self, data: bytes) -> None:
        """Takes in a message that came among frames of one row and is none."""
        self._received(data)

    def drive(self, handle: int) -> None:
        """It has sent steps of a session that ends with it."""
        self._driven.add(handle)

    def meet_bug(self, error: Exception) -> None:
        """Ends the stream: its frames met a bug."""
        self._fail(error)

    def _join(self, call: NativeStreamCall, read_ahead: ReadAhead) -> None:
        cast(SingleRows, self._single_rows).join(call, self)
        read_ahead.join(call, self.caller, single_rows=True)

    def _end_if_done(self) -> None:
        if not (self._is_idle or self._waits_for_idle) and (self._read_all or self.draining):
            self._waits_for_idle = True
            cast(NativeStreamCall, self._call).when_idle(self._idle)
        super()._end_if_done()

    def _idle(self) -> None:
        self._is_idle = True
        self._end_if_done()

    def _accept(self, data: bytes) -> None:
        now = self._clock.now()
        request = StepRequest.FromString(data)
        try:
            check_size(len(data), self._limits.max_frame_bytes)
            self._submit(request, now)
        except ServiceError as error:
            self._refuse(request.frame_id, refusal(error), error, now)

    def _submit(self, request: StepRequest, now: float) -> None:
        if self.draining:
            raise Draining("the server is stopping; reconnect")
        self._engine.check()
        if request.server_instance and request.server_instance != self._instance:
            raise ReAttach(
                f"the frame is for server {request.server_instance!r}, this is {self._instance!r}; attach again",
                metadata={"server_instance": self._instance},
            )
        found = self._packed(request, now)
        if found is None:
            self._all_stale(request, now)
            return
        worker, frame = found
        sessions = worker.runtime.sessions
        if sessions.num_ending:
            self._driven.update(sessions.driven(frame.handles).tolist())
        check_answer(frame, self._limits.max_slice)
        self._open.add(frame)
        self.caller.add(frame.num_rows, frame.num_bytes)
        self._engine.submit(worker, frame)

    def _packed(self, request: StepRequest, now: float) -> tuple[ServedModel, Frame] | None:
        handles = read_handles(request)
        # Before any row is looked at: a million rows would be as many errors.
        too_many = LimitReached.first(("max_queue_rows", self._limits.max_queue_rows, 0, len(handles)))
        if too_many:
            raise too_many
        worker = self._worker(handles)
        return (worker, read_frame(request, handles, worker.runtime.view, self, now)) if worker else None

    def _worker(self, handles: "np.ndarray[tuple[int], np.dtype[np.uint64]]") -> ServedModel | None:
        # The model that the handles are of; those of no model are stale, and found so by the engine.
        numbers = self._catalogue.key.models(handles)
        if (numbers == numbers[0]).all():
            return self._engine.worker(int(numbers[0]))
        workers = [w for w in map(self._engine.worker, np.unique(numbers).tolist()) if w]
        if len(workers) > 1:
            names = ", ".join(f"{w.runtime.spec.name} {w.runtime.spec.version}" for w in workers)
            raise InvalidInput(f"handles: expected all of one model version, got handles of {names}")
        return workers[0] if workers else None

    def _all_stale(self, request: StepRequest, now: float) -> None:
        error = StaleHandle(
            "the handle is of no model that is loaded here: it was unloaded, or the handle is of another server "
            "process; attach again"
        )
        errors = tuple((row, self._catalogue.ended(handle) or error) for row, handle in enumerate(request.handles))
        self._refuse(request.frame_id, failure(errors), error, now)

    def _refuse(self, frame_id: int, answer: Answer, error: ServiceError, now: float) -> None:
        # A row until it is sent: a caller that does not read is not to be refused without end.
        self._count(error, self._clock.now() - now)
        self.caller.add(1, 0)
        self._answer(frame_id, answer, 1, 0)

    def _answer(self, frame_id: int, answer: Answer, ended: int, num_bytes: int, view: ModelView | None = None) -> None:
        self.caller.add(0, answer.num_bytes - num_bytes)
        self._queue(Reply(frame_id, answer, view, ended))

    def _encode(self, item: Reply) -> bytes:
        return write_answer(item.frame_id, item.answer, item.view).SerializeToString()

    def _sent(self, item: Reply) -> None:
        self.caller.add(-item.num_rows, -item.answer.num_bytes)

    def _has_open(self) -> bool:
        return len(self._open) > 0 or not self._is_idle

    def _count(self, error: ServiceError | None, seconds: float) -> None:
        code = code_of(error).name if error else "OK"
        self._metrics.request("Step", code, seconds)

    def _let_go(self) -> None:
        if self._single_rows:
            self._single_rows.leave(cast(NativeStreamCall, self._call))
        if self._open:
            self._engine.cancel([FramePart(frame) for frame, _ in self._open.left()])
        if self._driven:
            handles = np.array(list(self._driven), np.uint64)
            self._engine.post(lambda: self._catalogue.end_driven(handles))  # behind what is cancelled
