"""The fake server's `Score`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from elman._shared.packed_layout import enumerate_packed, pack, unpack
from elman.testing import _names as names
from elman.testing._frames import check_fits, read_input
from elman.testing._generate_spec import check_position
from elman.testing._generation import log_softmax
from elman.testing._model import FakeModel, Values
from elman.testing._refusal import Refusal
from elman.testing._server_state import ServerState
from elman.testing._sessions import FakeSession
from elman.v1 import inference_pb2, tensor_pb2
from elman.wire import WireError, from_tensor

Array = npt.NDArray[np.generic]


def score(server_state: ServerState, request: inference_pb2.ScoreRequest) -> inference_pb2.ScoreResponse:
    """The answer; the caller holds the lock. Raises Refusal."""
    server_state.check_size(request.ByteSize())
    session = _session(server_state, request)
    model = session.model if session else server_state.model(request.model, request.version)
    lengths = np.array(request.lengths, np.intp)
    values = read_input(request, list(request.lengths))
    check_fits(values, request, model)
    if session and len(lengths) > 1:
        raise Refusal("INVALID_INPUT", f"lengths: expected one, a session's, got {len(lengths)}")
    check_position(request)
    if request.output not in ("", names.OUTPUT):
        text = f"output: expected one of {names.OUTPUT!r}, got {request.output[:64]!r}"
        raise Refusal("INVALID_INPUT", text)
    targets = _read_targets(request, model, len(values))
    given = names.context_names(request.context)
    if session is None:
        names.check_context(given)
        outputs = _whole(model, values, lengths)
    else:
        begin = request.position if request.HasField("position") else session.position
        outputs = session.step(begin, values, (len(values), tensor_pb2.RETURN_ALL, False)).outputs
    response = _response(request, outputs, targets)
    response.version, response.position = model.version, session.position if session else 0
    return response


def _session(server_state: ServerState, request: inference_pb2.ScoreRequest) -> FakeSession | None:
    if not request.session_id:
        return None
    server_state.model(request.model, "")
    session = server_state.sessions.get(request.model, request.session_id)
    session.check_version(request.version)
    return session


def _whole(model: FakeModel, values: Array, lengths: npt.NDArray[np.intp]) -> Values:
    if error := model.bad_value(values):
        raise Refusal("INVALID_INPUT", error)
    start = np.zeros(model.state_size, np.float32)
    return np.asarray(pack([model.run(row, start)[0] for row in unpack(values, lengths)], lengths))


def _read_targets(request: inference_pb2.ScoreRequest, model: FakeModel, steps: int) -> Array:
    try:
        targets = from_tensor(request.targets, name="targets")
    except WireError as error:
        raise Refusal("INVALID_INPUT", str(error)) from None
    if targets.dtype not in (np.int64, np.float32):
        text = f"targets: expected int64 tokens, or float32 values, got {targets.dtype}"
        raise Refusal("INVALID_INPUT", text)
    are_tokens, size = targets.dtype == np.int64, model.num_outputs
    expected = (steps,) if are_tokens else (steps, size)
    if targets.shape != expected:
        text = f"targets: expected shape {list(expected)}, one for each step, got {list(targets.shape)}"
        raise Refusal("INVALID_INPUT", text)
    if are_tokens and not ((targets >= 0) & (targets < size)).all():
        text = f"targets: tokens of output {names.OUTPUT!r} are in [0, {size}), one is not"
        raise Refusal("INVALID_INPUT", text)
    return targets


def _response(request: inference_pb2.ScoreRequest, outputs: Values, targets: Array) -> inference_pb2.ScoreResponse:
    lengths = np.array(request.lengths, np.intp)
    given = outputs.astype(np.float64)
    are_tokens = targets.dtype == np.int64
    if are_tokens:
        steps = log_softmax(given)[np.arange(len(given)), targets.astype(np.int64)]
    else:
        steps = ((given - targets.astype(np.float64)) ** 2).mean(axis=1)
    _, rows = enumerate_packed(lengths)
    totals = np.bincount(rows, weights=steps, minlength=len(lengths))
    return inference_pb2.ScoreResponse(
        scores=(totals if are_tokens else totals / lengths).tolist(),
        step_scores=steps.tolist() if request.return_steps else (),
    )
