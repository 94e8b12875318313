"""The fake server's inference: `Infer` at once, `Step` with faults in between."""

# ruff: noqa: N802 - gRPC's method names

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Iterator

import grpc
import numpy as np

from elman._shared.packed_layout import Index, pack, unpack
from elman.testing import _frames as frames
from elman.testing._generate_call import GenerateCall
from elman.testing._handling import answer
from elman.testing._many_ids import keep_ids
from elman.testing._model import Values
from elman.testing._refusal import Refusal
from elman.testing._scoring import score
from elman.testing._server_state import ServerState
from elman.v1 import inference_pb2, inference_pb2_grpc, tensor_pb2
from elman.wire import from_tensor, to_tensor


class FakeInference(inference_pb2_grpc.InferenceServicer):
    """Frames run in the order in which they come, each at once."""

    def __init__(self, server_state: ServerState) -> None:
        self._server_state = server_state

    def Infer(self, request: inference_pb2.InferRequest, context: grpc.ServicerContext) -> inference_pb2.InferResponse:
        """Whole sequences."""
        return answer(self._server_state, context, self._infer, request)

    def Step(
        self, request_iterator: Iterator[inference_pb2.StepRequest], context: grpc.ServicerContext
    ) -> Iterator[inference_pb2.StepResponse]:
        """Frames of sessions."""
        driven: set[int] = set()  # handles that it has sent steps under
        context.add_callback(lambda: self._end(context, driven))
        yield inference_pb2.StepResponse(server_instance=answer(self._server_state, context, self._begin, context))
        for request in self._read_ahead(request_iterator):
            self._server_state.running.wait()
            self._cut_perhaps(context)
            driven.update(request.handles)
            for result in self._run(request):
                self._cut_perhaps(context)
                yield result

    def Generate(
        self, request: inference_pb2.GenerateRequest, context: grpc.ServicerContext
    ) -> Iterator[inference_pb2.GenerateResponse]:
        """Steps that a session feeds itself. Draws are not the server's: see `FakeServer`."""
        return GenerateCall(self._server_state, request, context).responses()

    def Score(self, request: inference_pb2.ScoreRequest, context: grpc.ServicerContext) -> inference_pb2.ScoreResponse:
        """Compares."""
        return answer(self._server_state, context, functools.partial(score, self._server_state), request)

    def _begin(self, context: grpc.ServicerContext) -> str:
        self._server_state.num_streams += 1
        self._server_state.streams.add(context)
        return self._server_state.instance

    def _end(self, context: grpc.ServicerContext, driven: set[int]) -> None:
        with self._server_state.lock:
            self._server_state.streams.discard(context)
            self._server_state.sessions.disconnect(driven)

    def _read_ahead(self, requests: Iterator[inference_pb2.StepRequest]) -> Iterator[inference_pb2.StepRequest]:
        """Reads on a thread of its own, so that frames are seen while they are held."""
        read: queue.SimpleQueue[inference_pb2.StepRequest | None] = queue.SimpleQueue()

        def run() -> None:
            try:
                for request in requests:
                    with self._server_state.changed:
                        self._server_state.frame_rows.append(len(request.handles))
                        self._server_state.changed.notify_all()
                    read.put(request)
            except grpc.RpcError:  # cut
                pass
            finally:
                read.put(None)

        threading.Thread(target=run, name="elman-fake-reader", daemon=True).start()
        while (request := read.get()) is not None:
            yield request

    def _cut_perhaps(self, context: grpc.ServicerContext) -> None:
        with self._server_state.lock:
            code = self._server_state.faults.cut_now()
        if code is not None:
            context.abort(code, "cut by the test")

    def _run(self, request: inference_pb2.StepRequest) -> list[inference_pb2.StepResponse]:
        with self._server_state.lock:
            faults = self._server_state.faults
            try:
                self._server_state.check_instance(request.server_instance)
                if faults.refuse_now():
                    raise Refusal("LIMIT_REACHED", "queue is full", faults.refusal_retry_seconds, limit="queue_rows")
                self._server_state.check_size(request.ByteSize())
                values = frames.check(request)
            except Refusal as refusal:
                return [inference_pb2.StepResponse(frame_id=request.frame_id, frame_error=refusal.status)]
            answers, errors = frames.apply(request, values, self._server_state.sessions)
            return list(frames.results(request, answers, errors, faults.max_slice))

    def _infer(self, request: inference_pb2.InferRequest) -> inference_pb2.InferResponse:
        self._server_state.check_size(request.ByteSize())
        model = self._server_state.model(request.model, request.version)
        lengths = np.array(request.lengths, np.intp)
        values = frames.check_infer(request, model)
        limit = self._server_state.limits.max_infer_rows
        if len(lengths) > limit:
            text = f"max_infer_rows is {limit}: 0 wait and {len(lengths)} came"
            raise Refusal("LIMIT_REACHED", text, limit="max_infer_rows", value=limit)
        state = np.zeros((len(lengths), model.state_size), np.float32)
        if request.HasField("h_0"):
            state = from_tensor(request.h_0, name="h_0")[0]
        keep = keep_ids(request)
        if self._server_state.sessions.check_kept(model, keep, request.request_id):
            keep = []  # a try whose answer was lost has kept them
        ran = [model.run(row, state[index]) for index, row in enumerate(unpack(values, lengths))]
        for session_id, (_, after), length in zip(keep, ran, lengths.tolist(), strict=False):
            session = self._server_state.sessions.open(model, session_id, may_exist=False, may_begin=True)
            session.state, session.position, session.failed_end = after, length, length
            session.request_id = request.request_id
        return _response(request, model.version, model.is_lstm, ran, lengths)


def _response(
    request: inference_pb2.InferRequest,
    version: str,
    is_lstm: bool,
    ran: list[tuple[Values, Values]],
    lengths: Index,
) -> inference_pb2.InferResponse:
    response = inference_pb2.InferResponse(version=version)
    outputs = [output for output, _ in ran]
    if request.return_output == tensor_pb2.RETURN_LAST:
        response.output.CopyFrom(to_tensor(np.stack([output[-1] for output in outputs])))
    elif request.return_output != tensor_pb2.RETURN_NONE:
        response.output.CopyFrom(to_tensor(pack(outputs, lengths)))
    if request.return_state:
        states = np.stack([state for _, state in ran])[np.newaxis]
        response.h_n.CopyFrom(to_tensor(states))
        if is_lstm:
            response.c_n.CopyFrom(to_tensor(2 * states))
    return response
