"""One `ModelStreamInfer` stream: requests in, answers out, each request ended exactly once."""

from typing import NamedTuple, cast

from elman_server.door.caller_limits import Caller
from elman_server.door.door import Door
from elman_server.door.native.port import NativeStreamCall
from elman_server.door.oip.answer_order import AnswerOrder, AnswerTurn
from elman_server.door.oip.inference import Inference, Part
from elman_server.door.oip.parameters import Parameters
from elman_server.door.oip.read import Reader
from elman_server.door.oip.single_steps import METHOD, SingleStep, StepAnswers
from elman_server.door.oip.status import code_of, message_of
from elman_server.door.oip.stubs.grpc_service_pb2 import ModelInferRequest
from elman_server.door.oip.stubs.unread_pb2 import UnreadRequest
from elman_server.door.oip.targets import Target
from elman_server.door.oip.write import write_step, write_stream_error, write_stream_response
from elman_server.door.rpc.call import StreamCall
from elman_server.door.stream import Stream
from elman_server.errors import EngineFailed, ServiceError
from elman_server.exchange.answers import Answer, refusal
from elman_server.exchange.frames import Frame, FramePart
from elman_server.exchange.sequences import SequencePort

END_ON_ERROR = "triton_grpc_error"
"""Metadata, "true": an error ends the stream with its status."""


class Reply(NamedTuple):
    """What is to be written."""

    message: bytes
    num_rows: int
    """Rows of the caller's that end with it."""
    num_bytes: int
    """Of its tensors."""
    error: ServiceError | None = None


class InferStream(Stream[Reply]):
    """Reads requests into the engine and writes what comes back; on the engine's thread."""

    def __init__(
        self,
        call: StreamCall,
        door: Door,
        reader: Reader,
        sequences: SequencePort,
        answers: StepAnswers,
        caller: Caller,
        *,
        strict_order: bool,
        ends_on_error: bool,
    ) -> None:
        """`answers`: who hands over those to single steps. `ends_on_error`: an error ends the stream with its
        status."""
        super().__init__(call, caller, door.read_ahead)
        self._native_call = cast(NativeStreamCall, call)  # where `read_ahead` is
        self._door = door
        self._reader = reader
        self._sequences = sequences
        self._clock = door.engine.clock
        self._ends_on_error = ends_on_error
        self._order: AnswerOrder[Reply] = AnswerOrder(self._queue, one_line=strict_order)
        self._open: dict[int, tuple[Inference, AnswerTurn[Reply]]] = {}  # by the frame's number
        self._steps: dict[SingleStep, AnswerTurn[Reply]] = {}  # that are open
        self._number = 0
        self.answers = answers
        """Who hands over those to single steps."""

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
            self._count(part.error, frame.arrived, inference.target)
        self.caller.add(0, part.num_bytes)  # also while it waits for its turn
        self._answer(turn, _reply(inference, part), final=part.final)

    def take(self, step: SingleStep, raw: bytes) -> None:
        """Takes a single step's output."""
        turn = self._steps.pop(step, None)
        if turn is not None:
            self.caller.add(0, len(raw) - len(step.raw))
            self._answer(turn, Reply(write_step(step.form.head, step.id, raw), 1, len(raw)))

    def refuse(self, step: SingleStep, error: ServiceError) -> None:
        """Takes why a single step failed."""
        turn = self._steps.pop(step, None)
        if turn is not None:
            self._count(error, step.arrived, step.target)
            self.caller.add(0, -len(step.raw))
            self._answer(turn, _refusal(step.id, error))

    def fail(self, error: EngineFailed) -> None:
        """Ends all requests that are open: the engine answers no more."""
        for inference, _ in list(self._open.values()):
            self.on_result(inference.frame, refusal(error))
        for step in list(self._steps):
            self.refuse(step, error)

    def _accept(self, data: bytes) -> None:
        unread = UnreadRequest.FromString(data)
        now, line = self._clock.now(), ""
        try:
            self._door.check_open()
            parameters = self._reader.forms.parameters(unread, data)
            line = parameters.session_id
            form = self._reader.forms.find(unread, parameters)
            if form is None:
                self._begin(self._read(unread, data, parameters, now), line)
            else:
                raw = unread.raw_input_contents[0]
                self._begin_step(SingleStep(unread.id, form, parameters, raw, self, now), line)
        except ServiceError as error:
            self._count(error, now, None)
            self.caller.add(1, 0)
            self._answer(self._order.join(line), _refusal(unread.id, error))

    def _read(self, unread: UnreadRequest, data: bytes, parameters: Parameters, now: float) -> Inference:
        request = ModelInferRequest.FromString(data)
        self._number += 1
        inference = self._reader.read(request, parameters, self, number=self._number, now=now)
        self._reader.forms.learn(unread, request, inference)
        return inference

    def _begin(self, inference: Inference, line: str) -> None:
        self._open[self._number] = inference, self._order.join(line)
        self.caller.add(inference.frame.num_rows, inference.frame.data.nbytes)
        self._sequences.submit(inference)

    def _begin_step(self, step: SingleStep, line: str) -> None:
        self._steps[step] = self._order.join(line)
        self.caller.add(1, len(step.raw))
        self._sequences.submit(step)

    def _answer(self, turn: AnswerTurn[Reply], reply: Reply, *, final: bool = True) -> None:
        self._order.answer(turn, reply, final=final)
        self._end_if_done()  # not before: answers that waited for this one follow it

    def _queue(self, item: Reply) -> None:
        # The native door keeps what is written, and counts it: nothing is to be told of each.
        if self._read_ahead is None or self._gone:
            super()._queue(item)
        elif not self.on_end:  # nothing follows what has ended the stream
            self._sent(item)
        elif self._ends_on_error and item.error is not None:
            self._sent(item)
            self._fail(item.error)
        else:
            self._read_ahead.answer(self._native_call, self.caller, item.message, item.num_rows, item.num_bytes)

    def _encode(self, item: Reply) -> bytes:
        if self._ends_on_error and item.error is not None:
            raise item.error
        return item.message

    def _end(self, error: Exception | None) -> None:
        if self._read_ahead is not None:  # the loop ends the call on its own thread
            self._read_ahead.write_gathered()
        super()._end(error)

    def _sent(self, item: Reply) -> None:
        self.caller.add(-item.num_rows, -item.num_bytes)

    def _has_open(self) -> bool:
        return bool(self._open or self._steps)

    def _count(self, error: ServiceError | None, began: float, target: Target | None) -> None:
        seconds = self._clock.now() - began
        self._door.metrics.request(METHOD, code_of(error).name if error else "OK", seconds)
        if target is not None:
            target.requests.count(seconds, failed=error is not None)

    def _let_go(self) -> None:
        # What is not begun is dropped; all that was read counts against the caller until it has ended.
        if not self._has_open():
            return
        inferences = [inference for inference, _ in self._open.values()]
        for inference in inferences:
            inference.cancelled = True
        for step in self._steps:
            step.cancelled = True
        parts = [FramePart(inference.frame) for inference in inferences]
        self._door.engine.cancel(parts + [step.part for step in self._steps if step.is_joined])


def _reply(inference: Inference, part: Part) -> Reply:
    if part.error is not None:
        return _refusal(inference.id, part.error, inference.frame.num_rows)
    message = write_stream_response(inference, part).SerializeToString()
    return Reply(message, inference.frame.num_rows if part.final else 0, part.num_bytes)


def _refusal(request_id: str, error: ServiceError, num_rows: int = 1) -> Reply:
    # Of a request that was not understood, too: a row until it is sent, so that a caller that does not read is not
    # refused without end.
    return Reply(write_stream_error(request_id, message_of(error)).SerializeToString(), num_rows, 0, error)
