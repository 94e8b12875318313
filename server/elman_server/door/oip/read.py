"""Reader: a message becomes an inference."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman_server.door.elman_v1.read import MAX_ANSWER_BYTES, check_size
from elman_server.door.oip.forms import Forms
from elman_server.door.oip.inference import Inference
from elman_server.door.oip.parameters import Parameters, refuse_shared_memory
from elman_server.door.oip.signature import Signature
from elman_server.door.oip.stubs.grpc_service_pb2 import ModelInferRequest
from elman_server.door.oip.targets import Target, Targets
from elman_server.door.oip.tensors import Input, read_initial, read_steps, read_tensors
from elman_server.errors import InvalidInput, ServiceError
from elman_server.exchange.frames import Frame, ResultSink, Want
from elman_server.exchange.initial import NOTHING_GIVEN, check_context
from elman_server.exchange.model_view import ModelView
from elman_server.threads.clock import Clock

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
            return self._read(request, parameters, target, _Asker(sink, number, now))
        except ServiceError:
            target.requests.count(self._clock.now() - now, failed=True)
            raise

    def _read(self, request: ModelInferRequest, parameters: Parameters, target: Target, asker: "_Asker") -> Inference:
        self._check_bytes(request)
        signature, view = target.signature, target.runtime.view
        arrays = read_tensors(request, signature)
        given = read_steps(arrays, signature, view.input)
        extra = arrays if len(arrays) > len(signature.steps) else {}
        _check_sequence(target, parameters, given.rows, extra)
        _check_steps(target, given.steps)
        names = _names(request, signature, parameters)
        asked = _Asked.of(names, target, parameters)
        _check_answer(target, parameters, asked, given)
        initial = read_initial(extra, signature, view, given.rows) if extra else NOTHING_GIVEN
        if not parameters.session_id:
            check_context(view, initial.context, given.rows)
        frame = _frame(view, parameters, given, asked, asker)
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


class _Asker(NamedTuple):
    """Who waits for a frame, since when, and its number there."""

    sink: ResultSink
    number: int
    arrived: float


class _Asked(NamedTuple):
    """What of a model's step is to be told."""

    want: Want
    outputs: int
    """As bits."""
    states: bool

    @classmethod
    def of(cls, names: Sequence[str], target: Target, parameters: Parameters) -> "_Asked":
        """By the names of the tensors."""
        given, view = target.signature.given, target.runtime.view
        outputs = view.output.bits([name for name in names if name in given])
        want = parameters.want if outputs else Want.NONE
        if want is Want.ALL and not outputs & ~view.per_row_outputs:
            want = Want.LAST  # outputs that have no steps are those of the last one
        return cls(want, outputs, any(name not in given for name in names))


def _frame(view: ModelView, parameters: Parameters, given: Input, asked: _Asked, asker: _Asker) -> Frame:
    position = parameters.position
    return Frame(
        frame_id=asker.number,
        handles=_NO_HANDLES,
        lengths=np.full(given.rows, given.steps, np.int64),
        positions=None if position is None else np.array([position], np.int64),
        view=view,
        data=given.data,
        want=asked.want,
        want_state=asked.states,
        outputs=asked.outputs or view.output.all,
        deadline=parameters.deadline(asker.arrived),
        sink=asker.sink,
        arrived=asker.arrived,
        open_rows=given.rows,
    )


def _check_steps(target: Target, steps: int) -> None:
    if target.max_steps is not None and steps > target.max_steps:
        is_bidirectional = target.runtime.view.has_stack_state
        kind = "a bidirectional model" if is_bidirectional else "a model that needs whole sequences"
        raise InvalidInput(
            f"'{target.signature.steps[0]}': expected at most max_infer_steps, {target.max_steps}, on {kind}, "
            f"got {steps}"
        )


def _check_answer(target: Target, parameters: Parameters, asked: _Asked, given: Input) -> None:
    # gRPC would refuse to send a larger one, when all the work is done.
    view = target.runtime.view
    told = given.steps if parameters.want is Want.ALL and not parameters.decoupled else 1
    step_bytes = view.output.part(asked.outputs).num_bytes if asked.outputs else 0
    num_bytes = given.rows * (told * step_bytes + view.state_bytes * asked.states)
    if num_bytes > MAX_ANSWER_BYTES:
        raise InvalidInput(
            f"the answer would have {num_bytes} bytes, and {MAX_ANSWER_BYTES} are the most: send fewer steps or rows "
            "at a time, or ask for 'return' = last"
        )


def _check_sequence(target: Target, parameters: Parameters, rows: int, arrays: Mapping[str, object]) -> None:
    # `arrays`: all of them, where there is more than steps among them.
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
