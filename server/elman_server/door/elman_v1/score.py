"""One call of `Score`: what the model gives is compared here, and its score travels."""

import asyncio
import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.v1 import inference_pb2
from elman_models.generation.scoring import log_likelihoods, squared_errors
from elman_models.layout import batch_sizes, steps_and_rows
from elman_server.door.door import ANONYMOUS, Door
from elman_server.door.elman_v1.read import check_size, read_context, read_inputs, read_lengths, read_tensor
from elman_server.door.elman_v1.read_generate import read_position
from elman_server.door.infer_result import InferCall, InferResult
from elman_server.door.rpc.context import Context
from elman_server.errors import InvalidInput, ServiceError
from elman_server.exchange.answers import refusal
from elman_server.exchange.frames import Frame, FramePart, Want
from elman_server.exchange.initial import Initial, check_context
from elman_server.exchange.model_view import ModelView, TensorField
from elman_server.generating.generators import Generators
from elman_server.generating.target import Target

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


class ScoreCalls:
    """Serves `Inference.Score`. On the loop."""

    def __init__(self, door: Door, generators: Generators) -> None:
        self._door = door
        self._generators = generators

    async def serve(self, request: inference_pb2.ScoreRequest, context: Context) -> inference_pb2.ScoreResponse:
        """The answer.

        Raises:
            ServiceError: it is refused, or a row fails.
        """
        engine = self._door.engine
        check_size(request.ByteSize(), self._door.catalogue.limits.max_frame_bytes)
        find = partial(self._generators.target, request.model, request.version, ANONYMOUS, request.session_id)
        target: Target = await engine.call(find)
        view, handle = target.worker.runtime.view, target.handle
        answered = engine.expect()
        call = InferCall(answered, engine.loop_calls)
        frame, output = self._frame(request, view, handle, call, context)
        targets = _read_targets(request, output, frame.num_steps)
        initial = Initial(context=read_context(request.context))
        if not request.session_id:
            check_context(view, initial.context, frame.num_rows)
        engine.post(partial(self._submit, context.peer(), target, frame, call, initial))
        try:
            result: InferResult = await answered
        except asyncio.CancelledError:
            engine.cancel([FramePart(frame)])
            raise
        return _response(request, target, frame, result, output, targets)

    def _submit(self, peer: str, target: Target, frame: Frame, call: InferCall, initial: Initial) -> None:
        # On the engine's thread.
        engine = self._door.engine
        try:
            call.charge = self._door.callers.charge(peer, frame.num_rows, frame.num_bytes)
        except ServiceError as error:
            call.on_result(frame, refusal(error))
            return
        if len(frame.handles):
            engine.submit(target.worker, frame)
        else:
            engine.submit_infer(target.worker, frame, initial)

    def _frame(
        self,
        request: inference_pb2.ScoreRequest,
        view: ModelView,
        handle: int | None,
        call: InferCall,
        context: Context,
    ) -> tuple[Frame, TensorField]:
        now, remaining = self._door.engine.clock.now(), context.time_remaining()
        lengths, position = read_lengths(request.lengths), read_position(request)
        if handle is not None and len(lengths) > 1:
            raise InvalidInput(f"lengths: expected one, a session's, got {len(lengths)}")
        output = _output(view, request.output)
        frame = Frame(
            frame_id=0,
            handles=np.array([] if handle is None else [handle], np.uint64),
            lengths=lengths,
            positions=None if position is None else np.array([position]),
            view=view,
            data=read_inputs(request, view, lengths),
            want=Want.ALL,
            want_state=False,
            deadline=now + (math.inf if remaining is None else remaining),
            sink=call,
            arrived=now,
            outputs=view.output.bits([output.name]),
            open_rows=len(lengths),
        )
        return frame, output


def _output(view: ModelView, name: str) -> TensorField:
    known = view.output.names
    if not name and len(known) > 1:
        raise InvalidInput(f"output: expected one of {', '.join(map(repr, known))}, got none")
    if name and name not in known:
        raise InvalidInput(f"output: expected one of {', '.join(map(repr, known))}, got {name[:64]!r}")
    output = view.output.fields[known.index(name) if name else 0]
    if output.per_row:
        raise InvalidInput(f"output {output.name!r} is of a whole sequence: it has no steps to compare")
    return output


def _read_targets(request: inference_pb2.ScoreRequest, output: TensorField, steps: int) -> NDArray[Any]:
    targets = read_tensor(request.targets, "targets")
    if targets.dtype == np.int64 and len(output.features) == 1:
        expected: tuple[int, ...] = (steps,)
    elif targets.dtype == output.dtype:
        expected = (steps, *output.features)
    else:
        raise InvalidInput(f"targets: expected int64 tokens, or {output.dtype} values, got {targets.dtype}")
    if targets.shape != expected:
        raise InvalidInput(f"targets: expected shape {list(expected)}, one for each step, got {list(targets.shape)}")
    if len(expected) == 1 and not ((targets >= 0) & (targets < output.features[0])).all():
        raise InvalidInput(f"targets: tokens of output {output.name!r} are in [0, {output.features[0]}), one is not")
    return targets


def _response(
    request: inference_pb2.ScoreRequest,
    target: Target,
    frame: Frame,
    result: InferResult,
    output: TensorField,
    targets: NDArray[Any],
) -> inference_pb2.ScoreResponse:
    (_, given), *_ = result.outputs()
    are_tokens = targets.ndim == 1 and targets.dtype == np.int64
    steps = _token_scores(given, targets, output) if are_tokens else squared_errors(given, targets)
    _, rows = steps_and_rows(batch_sizes(frame.lengths))
    scores = np.bincount(rows, weights=steps, minlength=frame.num_rows)
    return inference_pb2.ScoreResponse(
        version=target.worker.runtime.spec.version,
        scores=(scores if are_tokens else scores / frame.lengths).tolist(),
        step_scores=steps.tolist() if request.return_steps else (),
        position=int(result.positions[0]) if request.session_id else 0,
    )


def _token_scores(given: NDArray[Any], targets: NDArray[Any], output: TensorField) -> F64:
    if not output.is_probability:
        return log_likelihoods(given, targets)
    with np.errstate(divide="ignore"):
        return log_likelihoods(np.log(given), targets)
