"""Room 2, door: a message becomes a domain request; a domain error becomes a status; nothing else."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

import numpy as np

from elman import wire
from elman.v1 import inference_pb2, inference_pb2_grpc
from elman_server.door.caller_limits import Caller
from elman_server.door.door import ANONYMOUS, Door, abort, unary
from elman_server.door.elman_v1.generate import GenerateCalls
from elman_server.door.elman_v1.keep import read_keep
from elman_server.door.elman_v1.read import (
    check_answer,
    check_size,
    read_context,
    read_inputs,
    read_lengths,
    read_outputs,
    read_timeout,
    read_want,
)
from elman_server.door.elman_v1.read_states import read_initial
from elman_server.door.elman_v1.score import ScoreCalls
from elman_server.door.elman_v1.status import code_of
from elman_server.door.elman_v1.step_stream import StepStream
from elman_server.door.elman_v1.write import add_named, write_states
from elman_server.door.infer_result import InferCall, InferResult
from elman_server.door.native.single_rows import SingleRows
from elman_server.door.rpc.call import StreamCall, StreamPort
from elman_server.door.rpc.context import Context
from elman_server.door.streams import Streams
from elman_server.errors import Draining, EngineFailed, InvalidInput, ServiceError
from elman_server.exchange.answers import refusal
from elman_server.exchange.frames import Frame, FramePart
from elman_server.exchange.initial import Initial
from elman_server.exchange.model_view import ModelView
from elman_server.exchange.served import ServedModel
from elman_server.exchange.session_calls.keep import Keeping
from elman_server.generating.generators import Generators


class InferenceService(inference_pb2_grpc.InferenceServicer):
    """`elman.v1.Inference`."""

    def __init__(
        self, door: Door, port: StreamPort, generators: Generators, single_rows: SingleRows | None = None
    ) -> None:
        """`single_rows`: takes frames of one row, where the native door serves."""
        self._single_rows = single_rows
        self._port = port
        self._door = door
        self._engine = door.engine
        self._generators = generators
        self._generate = GenerateCalls(door, generators)
        self._score = ScoreCalls(door, generators)
        self._catalogue = door.catalogue
        self._streams: Streams[StepStream] = Streams(port, door.engine.loop_calls, door.callers)

    @unary
    async def Infer(  # noqa: N802
        self, request: inference_pb2.InferRequest, context: Context
    ) -> inference_pb2.InferResponse:
        """See the contract."""
        self._door.check_open()
        check_size(request.ByteSize(), self._catalogue.limits.max_frame_bytes)
        runtime = self._catalogue.directory(request.model).version(request.version)
        worker = self._engine.worker_of(runtime)
        answered = self._engine.expect()
        keeping, context_given = self._keeping(request, worker), read_context(request.context)

        def keep(result: InferResult) -> None:
            if keeping:
                keeping.keep(result.states, frame.lengths, context_given)

        call = InferCall(answered, self._engine.loop_calls, keep)
        frame = self._frame(request, worker, call, context)
        check_answer(frame, None)
        frame.want_state = frame.want_state or keeping is not None
        initial = read_initial(request, runtime.view, frame.num_rows)
        self._port.post(partial(self._submit, context.peer(), worker, frame, call, initial, keeping))
        try:
            result: InferResult = await answered
        except asyncio.CancelledError:
            if keeping:
                keeping.is_abandoned = True
            self._engine.cancel([FramePart(frame)])
            raise
        return _response(runtime.spec.version, runtime.view, result, with_states=request.return_state)

    def _keeping(self, request: inference_pb2.InferRequest, worker: ServedModel) -> Keeping | None:
        keep = read_keep(request, worker.runtime.view, ANONYMOUS)
        return self._catalogue.keeping(worker.runtime, keep) if keep else None

    def _submit(
        self, peer: str, worker: ServedModel, frame: Frame, call: InferCall, initial: Initial, keeping: Keeping | None
    ) -> None:
        # On the engine's thread.
        try:
            if keeping:
                keeping.check()
            call.charge = self._door.callers.charge(peer, frame.num_rows, frame.num_bytes)
        except ServiceError as error:
            call.on_result(frame, refusal(error))
            return
        self._engine.submit_infer(worker, frame, initial)

    async def Step(  # type: ignore[override]  # noqa: N802
        self, _requests: object, context: Context
    ) -> None:
        """See the contract."""
        door = self._door
        try:
            door.check_open()
        except ServiceError as error:
            await abort(context, error)
        greeting = inference_pb2.StepResponse(server_instance=door.instance).SerializeToString()
        try:
            with door.counting_bugs("Step"):
                await self._streams.serve(context.call, self._stream, greeting)
        except Draining as error:
            await abort(context, error)

    async def Generate(  # type: ignore[override]  # noqa: N802
        self, request: inference_pb2.GenerateRequest, context: Context
    ) -> AsyncIterator[inference_pb2.GenerateResponse]:
        """See the contract."""
        door = self._door
        began, code = door.engine.clock.now(), "CANCELLED"
        try:
            door.check_open()
            async with aclosing(self._generate.serve(request, context.peer())) as responses:
                async for response in responses:
                    yield response
            code = "OK"
        except ServiceError as error:
            code = code_of(error).name
            await abort(context, error)
        except Exception:
            code = "INTERNAL"
            raise
        finally:
            door.metrics.request("Generate", code, door.engine.clock.now() - began)

    @unary
    async def Score(  # noqa: N802
        self, request: inference_pb2.ScoreRequest, context: Context
    ) -> inference_pb2.ScoreResponse:
        """See the contract."""
        self._door.check_open()
        return await self._score.serve(request, context)

    def _stream(self, call: StreamCall, caller: Caller) -> StepStream:
        door = self._door
        return StepStream(call, self._engine, self._catalogue, caller, door.instance, door.metrics, self._single_rows)

    def end_streams(self) -> None:
        """Has each stream refuse new frames and end once everything admitted is answered. On the engine's thread."""
        if self._single_rows:
            self._single_rows.draining = True
        self._generators.drain()
        self._streams.end()

    def fail_streams(self, error: EngineFailed) -> None:
        """Has each stream end what is open with that error. On the engine's thread."""
        if self._single_rows:
            self._single_rows.fail(error)
        self._generators.fail(error)
        self._streams.fail(error)

    def _frame(
        self, request: inference_pb2.InferRequest, worker: ServedModel, call: InferCall, context: Context
    ) -> Frame:
        runtime, now = worker.runtime, self._engine.clock.now()
        lengths = read_lengths(request.lengths)
        limit = self._catalogue.limits.max_infer_steps
        if runtime.view.needs_whole_sequences and lengths[0] > limit:
            kind = "a bidirectional model" if runtime.view.has_stack_state else "a model that needs whole sequences"
            raise InvalidInput(f"lengths: expected at most max_infer_steps, {limit}, on {kind}, got {lengths[0]}")
        timeout = read_timeout(request.timeout) if request.HasField("timeout") else math.inf
        remaining = context.time_remaining()
        outputs = read_outputs(request.outputs, runtime.view)
        return Frame(
            frame_id=0,
            handles=np.empty(0, np.uint64),
            lengths=lengths,
            positions=None,
            view=runtime.view,
            data=read_inputs(request, runtime.view, lengths),
            want=read_want(request.return_output, runtime.view, outputs),
            outputs=outputs,
            want_state=request.return_state,
            deadline=now + min(timeout, math.inf if remaining is None else remaining),
            sink=call,
            arrived=now,
            open_rows=len(lengths),
        )


def _response(version: str, view: ModelView, result: InferResult, *, with_states: bool) -> inference_pb2.InferResponse:
    response = inference_pb2.InferResponse(version=version)
    for name, array in result.outputs():
        if view.output.is_plain:
            wire.fill_tensor(response.output, array)
        else:
            add_named(response.outputs, name, array)
    write_states(response, view, result.states if with_states else ())
    return response
