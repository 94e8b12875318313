"""One `Step` stream: frames in, results out, each frame's rows ended exactly once."""

import asyncio
from collections import deque

import numpy as np

from elman.v1.inference_pb2 import StepRequest, StepResponse
from elman_server.answers import Answer, StepAnswer, failure, refusal
from elman_server.callers import Caller
from elman_server.catalog import Catalog
from elman_server.clock import Clock
from elman_server.engine import Engine
from elman_server.errors import Draining, InvalidInput, ReAttach, ServiceError, StaleHandle
from elman_server.frames import Frame
from elman_server.metrics import Metrics
from elman_server.reading import check_answer, check_size, read_frame, read_handles, read_letter
from elman_server.rpc.call import Call
from elman_server.status import code_of
from elman_server.worker import Worker
from elman_server.writing import write_answer


class StepStream:
    """Reads frames into the engine and writes what comes back; on the loop's thread."""

    def __init__(
        self,
        call: Call,
        engine: Engine,
        catalog: Catalog,
        caller: Caller,
        instance: str,
        metrics: Metrics,
    ) -> None:
        self._call = call
        self._engine = engine
        self._catalog = catalog
        self._caller = caller
        self._instance = instance
        self._metrics = metrics
        self._clock: Clock = engine.clock
        self._limits = catalog.limits
        self._outbox: deque[tuple[int, Answer | StepAnswer, int]] = deque()  # frame_id, answer, rows that end with it
        self._open_frames = 0
        self._unsent = 1  # answers in the outbox, and the one that is being sent: at first the server's name
        self._sending: tuple[int, int] | None = 0, 0  # rows and bytes of that one; None: nothing is
        self._read_all = False
        self._gone = False
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.draining = False
        """Set from outside: new frames are refused."""

    async def run(self) -> None:
        """Serves the stream to its end: half-closed by the caller and answered, cancelled, or ended by `end`.

        Raises:
            Draining: ended by `end`; all that was admitted is answered.
            DecodeError: a frame that does not parse.
        """
        self._call.send(StepResponse(server_instance=self._instance).SerializeToString(), self._sent)
        self._read_on()
        try:
            await self._ended
        finally:
            self._let_go()
        if not self._read_all:
            raise Draining("the server is stopping; reconnect")

    def deliver(self, frame: Frame, answer: Answer | StepAnswer) -> None:
        """Queues an answer of the engine's."""
        ended = frame.open_rows if answer.frame_error is not None else answer.num_ended
        frame.open_rows -= ended
        num_bytes = 0  # of the frame, which no longer count
        if not frame.open_rows:
            self._open_frames -= 1
            num_bytes = frame.num_bytes
            self._count(answer.frame_error, self._clock.now() - frame.arrived)
        self._queue(frame.frame_id, answer, ended, num_bytes)

    def end(self) -> None:
        """Refuses what comes from now on, and ends once everything is answered."""
        self.draining = True
        self._end_if_done()

    def _read_on(self) -> None:
        if self._gone:
            return
        if self._caller.is_full:
            self._caller.when_room(self._read_on)
        else:
            self._call.receive(self._received)

    def _received(self, data: bytes | None) -> None:
        if self._gone:
            return
        if data is None:
            self._read_all = True
            self._end_if_done()
            return
        try:
            self._accept(data)
        except Exception as error:  # noqa: BLE001 - it ends the stream
            self._fail(error)
        else:
            self._read_on()

    def _accept(self, data: bytes) -> None:
        now = self._clock.now()
        request = StepRequest.FromString(data)
        try:
            check_size(len(data), self._limits.max_frame_bytes)
            self._submit(request, now)
        except ServiceError as error:
            self._count(error, self._clock.now() - now)
            self._queue(request.frame_id, refusal(error))

    def _submit(self, request: StepRequest, now: float) -> None:
        if self.draining:
            raise Draining("the server is stopping; reconnect")
        if request.server_instance and request.server_instance != self._instance:
            raise ReAttach(
                f"the frame is for server {request.server_instance!r}, this is {self._instance!r}; attach again",
                metadata={"server_instance": self._instance},
            )
        found = self._letter(request, now) or self._packed(request, now)
        if found is None:
            self._all_stale(request, now)
            return
        worker, frame = found
        check_answer(frame, worker.runtime.spec, self._limits.max_slice)
        is_pipelined = self._open_frames + self._unsent > 0
        self._open_frames += 1
        self._caller.add(frame.num_rows, frame.num_bytes)
        self._engine.submit(worker, frame, is_pipelined=is_pipelined)

    def _letter(self, request: StepRequest, now: float) -> tuple[Worker, Frame] | None:
        if len(request.handles) != 1:
            return None
        worker = self._catalog.worker(self._catalog.key.model(request.handles[0]))
        letter = read_letter(request, worker.runtime.input, self, now) if worker else None
        return (worker, letter) if worker and letter else None

    def _packed(self, request: StepRequest, now: float) -> tuple[Worker, Frame] | None:
        handles = read_handles(request)
        worker = self._worker(handles)
        return (worker, read_frame(request, handles, worker.runtime.input, self, now)) if worker else None

    def _worker(self, handles: "np.ndarray[tuple[int], np.dtype[np.uint64]]") -> Worker | None:
        # The model that the handles are of; those of no model are stale, and found so by the engine.
        numbers = self._catalog.key.models(handles)
        if (numbers == numbers[0]).all():
            return self._catalog.worker(int(numbers[0]))
        workers = [w for w in map(self._catalog.worker, np.unique(numbers).tolist()) if w]
        if len(workers) > 1:
            names = ", ".join(f"{w.runtime.spec.name} {w.runtime.spec.version}" for w in workers)
            raise InvalidInput(f"handles: expected all of one model version, got handles of {names}")
        return workers[0] if workers else None

    def _all_stale(self, request: StepRequest, now: float) -> None:
        error = StaleHandle(
            "the handle is of no model that is loaded here: it was unloaded, or the handle is of another server "
            "process; attach again"
        )
        self._count(error, self._clock.now() - now)
        self._queue(request.frame_id, failure(tuple((row, error) for row in range(len(request.handles)))))

    def _queue(self, frame_id: int, answer: Answer | StepAnswer, ended: int = 0, num_bytes: int = 0) -> None:
        if self._gone:  # nobody reads it, but the caller may have other streams: its rows no longer count
            self._caller.add(-ended, -num_bytes)
            return
        self._caller.add(0, answer.num_bytes - num_bytes)
        self._outbox.append((frame_id, answer, ended))
        self._unsent += 1
        if self._sending is None:
            self._send_next()

    def _send_next(self) -> None:
        frame_id, answer, ended = self._outbox.popleft()
        self._sending = ended, answer.num_bytes
        try:
            self._call.send(write_answer(frame_id, answer).SerializeToString(), self._sent)
        except Exception as error:  # noqa: BLE001 - it ends the stream, and no other that is answered with it
            self._sending = None
            self._caller.add(-ended, -answer.num_bytes)
            self._fail(error)

    def _sent(self, has_room: bool) -> None:
        ended, num_bytes = self._sending or (0, 0)
        self._sending = None
        self._unsent -= 1
        self._caller.add(-ended, -num_bytes)
        if self._gone or not has_room:  # then the caller is gone, too: `run` is cancelled and lets go
            return
        if self._outbox:
            self._send_next()
        else:
            self._end_if_done()

    def _end_if_done(self) -> None:
        if (self._read_all or self.draining) and not (self._open_frames or self._unsent or self._ended.done()):
            self._ended.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    def _count(self, error: ServiceError | None, seconds: float) -> None:
        code = code_of(error).name if error else "OK"
        self._metrics.request("Step", code, seconds)

    def _let_go(self) -> None:
        self._gone = True
        if self._open_frames:
            self._engine.cancel(self)
        for _, answer, ended in self._outbox:
            self._caller.add(-ended, -answer.num_bytes)
        self._outbox.clear()
