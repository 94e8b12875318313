"""Reader: a message becomes an inference."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from elman_server.door.elman_v1.read import MAX_ANSWER_BYTES, check_size
from elman_server.door.oip.forms import Forms
from elman_server.door.oip.inference import Inference
from elman_server.door.oip.parameters import Parameters, refuse_shared_memory
from elman_server.door.oip.signature import Signature
from elman_server.door.oip.stubs.grpc_service_pb2 import ModelInferRequest
from elman_server.door.oip.targets import Target, Targets
from elman_server.door.oip.tensors import read_initial, read_steps, read_tensors
from elman_server.errors import InvalidInput, ServiceError
from elman_server.exchange.clock import Clock
from elman_server.exchange.frames import Frame, ResultSink, Want
from elman_server.exchange.initial import NOTHING_GIVEN, check_context
from elman_server.exchange.model_view import ModelView

I64 = NDArray[np.int64]
_NO_HANDLES = np.empty(0, np.uint64)


class Reader:
    """Reads requests of one server."""

    def __init__(self, targets: Targets, clock: Clock) -> None:
        self._targets = targets
        self._clock = clock
        self._max_bytes = targets.catalogue.limits.max_frame_bytes
        self.forms = Forms()
        """Those of requests that were read."""

    def read(
        self, request: ModelInferRequest, parameters: Parameters, sink: ResultSink, *, number: int = 0, now: float
    ) -> Inference:
        """The inference of a request whose parameters were read. `number` becomes the frame's; `now` in seconds on
        the engine's clock.

        Raises:
            UnknownModel: no such model or version.
            InvalidInput: a tensor or a parameter is wrong.
            LimitReached: the message is larger than max_frame_bytes.
            Unsupported: it asks for what is not there.
        """
        target = self._targets.find(request.model_name, request.model_version)
        try:
            return self._read(request, parameters, target, sink, number, now)
        except ServiceError:
            target.requests.count(self._clock.now() - now, failed=True)
            raise

    def _read(
        self,
        request: ModelInferRequest,
        parameters: Parameters,
        target: Target,
        sink: ResultSink,
        number: int,
        now: float,
    ) -> Inference:
        self._check_bytes(request)
        arrays = read_tensors(request, target.signature)
        view, signature = target.runtime.view, target.signature
        data, steps, rows = read_steps(arrays, signature, view.input)
        extra = len(arrays) > len(signature.steps)
        if parameters.session_id or parameters.start or parameters.end or parameters.position is not None:
            _check_sequence(target, parameters, rows, arrays if extra else {})
        if target.max_steps is not None and steps > target.max_steps:
            kind = "a bidirectional model" if view.has_stack_state else "a model that needs whole sequences"
            raise InvalidInput(
                f"'{signature.steps[0]}': expected at most max_infer_steps, {target.max_steps}, on {kind}, got {steps}"
            )
        names = _names(request, signature, parameters)
        outputs = view.output.bits([name for name in names if name in signature.given])
        if steps * rows * target.bytes_per_step > MAX_ANSWER_BYTES:
            _check_answer(view, parameters, outputs, steps, rows, with_state=_has_states(names, signature))
        initial = read_initial(arrays, signature, view, rows) if extra else NOTHING_GIVEN
        if not parameters.session_id:
            check_context(view, initial.context, rows)
        seconds, position = parameters.timeout_seconds, parameters.position
        frame = Frame(
            frame_id=number,
            handles=_NO_HANDLES,
            lengths=np.array([steps]) if rows == 1 else np.full(rows, steps, np.int64),
            positions=None if position is None else np.array([position], np.int64),
            view=view,
            data=data,
            want=_want(parameters.want, view, outputs),
            want_state=_has_states(names, signature),
            outputs=outputs or view.output.all,
            deadline=math.inf if seconds is None else now + seconds,
            sink=sink,
            arrived=now,
            open_rows=rows,
        )
        return Inference(request.id, target, parameters, names, frame, request.model_version, initial)

    def _check_bytes(self, request: ModelInferRequest) -> None:
        # Raw tensors are nearly all of a message, and their sizes are at hand.
        raws = request.raw_input_contents
        if len(raws) == 1:
            check_size(len(raws[0]), self._max_bytes)
        else:
            check_size(request.ByteSize(), self._max_bytes)


def _names(request: ModelInferRequest, signature: Signature, parameters: Parameters) -> tuple[str, ...]:
    # The outputs that travel back: those named, else all; without the model's where no step's is wanted.
    known = signature.outputs
    if request.outputs:
        names = []
        for output in request.outputs:
            name = output.name
            if name not in known or name in names:
                raise InvalidInput(
                    f"unexpected inference output '{name}' for model '{request.model_name}': "
                    f"it has {', '.join(known)}, each to be named once"
                )
            if output.parameters:
                refuse_shared_memory(output.parameters)
            names.append(name)
    else:
        names = list(known)
    if parameters.want is Want.NONE:
        names = [name for name in names if name not in signature.given]
    return tuple(names)


def _want(asked: Want, view: ModelView, outputs: int) -> Want:
    # Outputs that have no steps are those of the last one.
    if not outputs:
        return Want.NONE
    return Want.LAST if asked is Want.ALL and not outputs & ~view.per_row_outputs else asked


def _has_states(names: tuple[str, ...], signature: Signature) -> bool:
    return any(name not in signature.given for name in names)


def _check_answer(
    view: ModelView, parameters: Parameters, outputs: int, steps: int, rows: int, *, with_state: bool
) -> None:
    # gRPC would refuse to send a larger one, when all the work is done.
    told = steps if parameters.want is Want.ALL and not parameters.decoupled else 1
    step_bytes = view.output.part(outputs).num_bytes if outputs else 0
    num_bytes = rows * (told * step_bytes + view.state_bytes * with_state)
    if num_bytes > MAX_ANSWER_BYTES:
        raise InvalidInput(
            f"the answer would have {num_bytes} bytes, and {MAX_ANSWER_BYTES} are the most: send fewer steps or rows "
            "at a time, or ask for 'return' = last"
        )


def _check_sequence(target: Target, parameters: Parameters, rows: int, arrays: Mapping[str, object]) -> None:
    model = target.directory.name
    if not parameters.session_id:
        if parameters.start or parameters.end:
            raise InvalidInput(
                f"inference request to model '{model}' must specify a non-zero or non-empty correlation ID: "
                "sequence_start and sequence_end need a sequence_id"
            )
        if parameters.position is not None:
            raise InvalidInput("'position': it is a sequence's, and there is no sequence_id")
    elif rows != 1:
        raise InvalidInput(
            f"inference request to model '{model}' must specify batch-size 1 due to requirements of sequence batcher, "
            f"got {rows} rows"
        )
    elif not parameters.start:
        signature = target.signature
        for name in (*signature.initial, *signature.context):
            if name in arrays:
                raise InvalidInput(f"'{name}' begins a sequence: it goes with sequence_start alone")
