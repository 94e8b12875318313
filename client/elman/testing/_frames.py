"""Runs the fake server's frames: a request becomes results, one per slice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from elman._shared.packed_layout import Index, enumerate_packed
from elman.testing import _names as names
from elman.testing._model import FakeModel, Values
from elman.testing._refusal import Refusal
from elman.testing._sessions import FakeSessions, HeldAnswer
from elman.v1 import inference_pb2, tensor_pb2
from elman.wire import WireError, from_tensor, to_tensor

Answers = dict[int, HeldAnswer]


def check(request: inference_pb2.StepRequest) -> npt.NDArray[np.generic]:
    """The input of a frame that is well formed. Raises Refusal."""
    lengths = list(request.lengths)
    if len(lengths) != len(request.handles) or (request.positions and len(request.positions) != len(lengths)):
        raise Refusal("INVALID_INPUT", "handles, lengths and positions differ in number")
    if len(set(request.handles)) != len(lengths):
        raise Refusal("INVALID_INPUT", "a handle is repeated")
    names.check_outputs(request.outputs)
    return read_input(request, lengths)


def check_infer(request: inference_pb2.InferRequest, model: FakeModel) -> npt.NDArray[np.generic]:
    """The input of whole sequences that is well formed. Raises Refusal."""
    names.check_context(names.context_names(request.context))
    names.check_initial(request, model.is_lstm)
    names.check_outputs(request.outputs)
    values = read_input(request, list(request.lengths))
    check_fits(values, request, model)
    error = model.bad_value(values)
    if error:
        raise Refusal("INVALID_INPUT", error)
    return values


def read_input(request: names.HasInput, lengths: list[int]) -> npt.NDArray[np.generic]:
    """The steps of rows of these lengths, packed. Raises Refusal."""
    if not lengths or min(lengths) < 1 or lengths != sorted(lengths, reverse=True):
        raise Refusal("INVALID_INPUT", "lengths must be at least 1 and not increase")
    try:
        values = from_tensor(names.input_of(request), name="input")
    except WireError as error:
        raise Refusal("INVALID_INPUT", str(error)) from None
    if not values.ndim or len(values) != sum(lengths):
        raise Refusal("INVALID_INPUT", f"input: expected {sum(lengths)} steps, got {list(values.shape)}")
    return values


def check_fits(values: npt.NDArray[np.generic], request: names.HasInput, model: FakeModel) -> None:
    """Raises Refusal for an input of another model."""
    if values.shape[1:] != model.features or names.input_of(request).dtype != model.dtype:
        raise Refusal("INVALID_INPUT", f"input: expected features {list(model.features)}")


def apply(
    request: inference_pb2.StepRequest, values: npt.NDArray[np.generic], sessions: FakeSessions
) -> tuple[Answers, list[inference_pb2.RowError]]:
    """Runs each row's chunk, or finds its answer; the caller holds the lock."""
    lengths = np.array(request.lengths, np.intp)
    _, row_of = enumerate_packed(lengths)
    answers: Answers = {}
    errors = []
    for row, handle in enumerate(request.handles):
        asked = (int(lengths[row]), request.return_output, request.return_state)
        try:
            session = sessions.of_handle(handle)
            session.model.check_steps()
            begin = request.positions[row] if request.positions else session.position
            chunk = values[row_of == row]
            check_fits(chunk, request, session.model)
            answers[row] = session.step(begin, chunk, asked)
        except Refusal as refusal:
            errors.append(inference_pb2.RowError(row=row, status=refusal.status))
    return answers, errors


def results(
    request: inference_pb2.StepRequest, answers: Answers, errors: list[inference_pb2.RowError], max_slice: int
) -> Iterator[inference_pb2.StepResponse]:
    """One result per slice of at most `max_slice` steps; the errors come with the first."""
    longest = max((request.lengths[row] for row in answers), default=0)
    for start in range(0, max(longest, 1), max_slice):
        rows = [row for row in answers if request.lengths[row] > start]
        result = inference_pb2.StepResponse(frame_id=request.frame_id, errors=errors)
        _fill(result, request, answers, rows, start, max_slice)
        errors = []
        yield result


def _fill(
    result: inference_pb2.StepResponse,
    request: inference_pb2.StepRequest,
    answers: Answers,
    rows: list[int],
    start: int,
    max_slice: int,
) -> None:
    lengths = np.array([min(request.lengths[row] - start, max_slice) for row in rows], np.intp)
    finished = [row for row in rows if request.lengths[row] <= start + max_slice]
    is_whole = len(rows) == len(request.handles)
    result.rows.extend([] if is_whole else rows)
    result.starts.extend([start] * len(rows) if start else [])
    result.lengths.extend(lengths.tolist())
    result.finished.extend(finished)
    result.positions.extend(answers[row].position for row in finished)
    if request.return_output == tensor_pb2.RETURN_LAST and finished:
        result.output.CopyFrom(to_tensor(np.stack([answers[row].outputs[-1] for row in finished])))
    elif request.return_output in (tensor_pb2.RETURN_ALL, tensor_pb2.RETURN_UNSPECIFIED) and rows:
        result.output.CopyFrom(to_tensor(_packed([answers[row].outputs[start:] for row in rows], lengths)))
    if request.return_state and finished:
        states = np.stack([answers[row].state for row in finished])[np.newaxis]
        result.h_n.CopyFrom(to_tensor(states))
        if answers[finished[0]].has_cell_state:
            result.c_n.CopyFrom(to_tensor(2 * states))


def _packed(outputs: list[Values], lengths: Index) -> Values:
    steps, rows = enumerate_packed(lengths)
    return np.stack([outputs[row][step] for step, row in zip(steps, rows, strict=True)])
