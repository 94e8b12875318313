"""Reader: a message becomes an inference."""

import math

import numpy as np
from numpy.typing import NDArray

from elman_server.door.elman_v1.read import MAX_ANSWER_BYTES, check_size
from elman_server.door.oip.inference import Inference
from elman_server.door.oip.parameters import Parameters, refuse_shared_memory
from elman_server.door.oip.signature import ROWS, STEPS, Signature
from elman_server.door.oip.stubs.grpc_service_pb2 import ModelInferRequest
from elman_server.door.oip.targets import Target, Targets
from elman_server.door.oip.tensors import initial_state, read_tensors
from elman_server.errors import InvalidInput, ServiceError
from elman_server.exchange.clock import Clock
from elman_server.exchange.frames import Frame, ResultSink, Want

I64 = NDArray[np.int64]
_NO_HANDLES = np.empty(0, np.uint64)


class Reader:
    """Reads requests of one server."""

    def __init__(self, targets: Targets, clock: Clock) -> None:
        self._targets = targets
        self._clock = clock
        self._max_bytes = targets.catalogue.limits.max_frame_bytes

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
        data = arrays["input"]
        shape = data.shape
        steps, rows = shape[STEPS], shape[ROWS]
        if parameters.session_id or parameters.start or parameters.end or parameters.position is not None:
            _check_sequence(target, parameters, rows, has_state=len(arrays) > 1)
        if target.max_steps is not None and steps > target.max_steps:
            raise InvalidInput(
                f"'input': expected at most max_infer_steps, {target.max_steps}, on a bidirectional model, got {steps}"
            )
        names = _names(request, target.signature, parameters)
        if steps * rows * target.bytes_per_step > MAX_ANSWER_BYTES:
            _check_answer(target, parameters, names, steps, rows)
        seconds, position = parameters.timeout_seconds, parameters.position
        frame = Frame(
            frame_id=number,
            handles=_NO_HANDLES,
            lengths=np.array([steps]) if rows == 1 else np.full(rows, steps, np.int64),
            positions=None if position is None else np.array([position], np.int64),
            data=data.reshape(-1, *shape[2:]),
            want=parameters.want if "output" in names else Want.NONE,
            want_state=len(names) > ("output" in names),
            deadline=math.inf if seconds is None else now + seconds,
            sink=sink,
            arrived=now,
            open_rows=rows,
        )
        initial = initial_state(arrays, target.signature, rows) if len(arrays) > 1 else None
        return Inference(request.id, target, parameters, names, frame, request.model_version, initial)

    def _check_bytes(self, request: ModelInferRequest) -> None:
        # Raw tensors are nearly all of a message, and their sizes are at hand.
        raws = request.raw_input_contents
        if len(raws) == 1:
            check_size(len(raws[0]), self._max_bytes)
        else:
            check_size(request.ByteSize(), self._max_bytes)


def _names(request: ModelInferRequest, signature: Signature, parameters: Parameters) -> tuple[str, ...]:
    # The outputs that travel back: those named, else all; without `output` where no step's is wanted.
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
    if parameters.want is Want.NONE and "output" in names:
        names.remove("output")
    return tuple(names)


def _check_answer(target: Target, parameters: Parameters, names: tuple[str, ...], steps: int, rows: int) -> None:
    # gRPC would refuse to send a larger one, when all the work is done.
    spec = target.runtime.spec
    told = steps if parameters.want is Want.ALL and not parameters.decoupled else 1
    num_bytes = 4 * rows * (told * spec.output_size * ("output" in names) + spec.state_numel * (len(names) > 1))
    if num_bytes > MAX_ANSWER_BYTES:
        raise InvalidInput(
            f"the answer would have {num_bytes} bytes, and {MAX_ANSWER_BYTES} are the most: send fewer steps or rows "
            "at a time, or ask for 'return' = last"
        )


def _check_sequence(target: Target, parameters: Parameters, rows: int, *, has_state: bool) -> None:
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
    elif has_state and not parameters.start:
        raise InvalidInput("'h_0' begins a sequence: it goes with sequence_start alone")
