"""One `ModelStreamInfer` stream: requests in, answers out, each request ended exactly once."""

from typing import NamedTuple

from elman_server.door.call import StreamCall
from elman_server.door.caller_limits import Caller
from elman_server.door.door import Door
from elman_server.door.oip.answer_order import AnswerOrder, AnswerTurn
from elman_server.door.oip.inference import Inference, Part
from elman_server.door.oip.parameters import read_parameters
from elman_server.door.oip.read import Reader
from elman_server.door.oip.status import code_of, message_of
from elman_server.door.oip.stubs.grpc_service_pb2 import ModelInferRequest, ModelStreamInferResponse
from elman_server.door.oip.write import write_stream_error, write_stream_response
from elman_server.door.stream import Stream
from elman_server.errors import EngineFailed, ServiceError
from elman_server.exchange.answers import Answer, refusal
from elman_server.exchange.frames import Frame, FramePart
from elman_server.exchange.sequences import SequencePort

METHOD = "ModelStreamInfer"
END_ON_ERROR = "triton_grpc_error"
"""Metadata, "true": an error ends the stream with its status."""


class Reply(NamedTuple):
    """What is to be written."""

    request_id: str
    inference: Inference | None
    """None where the request was not understood."""
    part: Part

    @property
    def num_rows(self) -> int:
        """Rows of the caller's that end with it; a refusal is one until it is sent, so that a caller that does not
        read is not refused without end."""
        if self.inference is None:
            return 1
        return self.inference.frame.num_rows if self.part.final else 0

    def message(self) -> ModelStreamInferResponse:
        """As it travels."""
        if self.inference is None:
            return write_stream_error(self.request_id, message_of(self.part.error) if self.part.error else "")
        return write_stream_response(self.inference, self.part)


class InferStream(Stream[Reply]):
    """Reads requests into the engine and writes what comes back; on the engine's thread."""

    def __init__(
        self,
        call: StreamCall,
        door: Door,
        reader: Reader,
        sequences: SequencePort,
        caller: Caller,
        *,
        strict_order: bool,
        ends_on_error: bool,
    ) -> None:
        """`ends_on_error`: an error ends the stream with its status."""
        super().__init__(call, caller, door.read_ahead)
        self._door = door
        self._reader = reader
        self._sequences = sequences
        self._clock = door.engine.clock
        self._ends_on_error = ends_on_error
        self._order: AnswerOrder[Reply] = AnswerOrder(self._queue, one_line=strict_order)
        self._open: dict[int, tuple[Inference, AnswerTurn[Reply]]] = {}  # by the frame's number
        self._number = 0
        self._seconds = door.metrics.request_seconds.labels(METHOD)
        self._ok = door.metrics.requests.labels(METHOD, "OK")

    def on_result(self, frame: Frame, answer: Answer) -> None:
        """Takes an answer of the engine's."""
        entry = self._open.get(frame.frame_id)
        if entry is None:
            return
        inference, turn = entry
        part = inference.take(answer)
        if part is None:
            return
        if part.final:
            del self._open[frame.frame_id]
            self.caller.add(0, -frame.data.nbytes)
            self._count(part.error, frame.arrived, inference)
        self.caller.add(0, part.num_bytes)  # also while it waits for its turn
        self._order.answer(turn, Reply(inference.id, inference, part), final=part.final)

    def fail(self, error: EngineFailed) -> None:
        """Ends all requests that are open: the engine answers no more."""
        for inference, _ in list(self._open.values()):
            self.on_result(inference.frame, refusal(error))

    def _accept(self, data: bytes) -> None:
        request = ModelInferRequest.FromString(data)
        now, line = self._clock.now(), ""
        try:
            self._door.check_open()
            parameters = read_parameters(request.parameters)
            line = parameters.session_id
            self._number += 1
            inference = self._reader.read(request, parameters, self, number=self._number, now=now)
        except ServiceError as error:
            self._count(error, now, None)
            self.caller.add(1, 0)
            reply = Reply(request.id, None, Part(error=error))
            self._order.answer(self._order.join(line), reply, final=True)
            return
        self._open[self._number] = inference, self._order.join(line)
        self.caller.add(inference.frame.num_rows, inference.frame.data.nbytes)
        self._sequences.submit(inference)

    def _encode(self, item: Reply) -> bytes:
        if self._ends_on_error and item.part.error is not None:
            raise item.part.error
        return item.message().SerializeToString()

    def _sent(self, item: Reply) -> None:
        self.caller.add(-item.num_rows, -item.part.num_bytes)

    def _has_open(self) -> bool:
        return bool(self._open)

    def _count(self, error: ServiceError | None, began: float, inference: Inference | None) -> None:
        seconds = self._clock.now() - began
        if error is None:
            self._ok.inc()
        else:
            self._door.metrics.requests.labels(METHOD, code_of(error).name).inc()
        self._seconds.observe(seconds)
        if inference is not None:
            inference.target.requests.count(seconds, failed=error is not None)

    def _let_go(self) -> None:
        # What is not begun is dropped; all that was read counts against the caller until it has ended.
        if self._open:
            for inference, _ in self._open.values():
                inference.cancelled = True
            self._door.engine.cancel([FramePart(inference.frame) for inference, _ in self._open.values()])
