"""Scores: how well what came next fits what a model gives, compared on the server."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from elman._calls.infer_input import Form, InferInput, check_infer_input
from elman._model_core import ModelCore
from elman._session_cores import SessionCore
from elman._shared.arrays import ArrayLike, to_array, to_context, to_sequence
from elman._shared.checks import check_text, check_timeout
from elman._shared.errors import InvalidInputError
from elman._shared.info import ModelInfo, TensorInfo
from elman._shared.packed_layout import Index, order_of, pack
from elman._shared.records import Arrays, fill_named
from elman.v1 import inference_pb2
from elman.wire import Array, fill_tensor, wire_dtype

_ROWS_PER_CALL = 256


class Score(NamedTuple):
    """How well targets fit."""

    total: float
    """Log-likelihood, summed over the steps; or squared error, averaged over steps and features."""
    steps: Array
    """[T] of each step."""


class _Scoring:
    """A session is scored meanwhile."""

    is_busy = True

    async def close(self) -> None:
        """Nobody ends it but itself."""


async def score_session(
    session: SessionCore, x: ArrayLike, targets: ArrayLike, output: str | None, timeout: float | None
) -> Score:
    """Steps a session through `x` [T, *features] and scores `targets`. Raises TypeError, ElmanError."""
    info, client = session.info, session.client
    field = _output(info, output)
    values, _ = to_sequence(x, info, None)
    wanted = _targets(targets, field, len(values), "targets")
    check_timeout("timeout", timeout)
    deadline, scoring = client.transport.deadline(timeout), _Scoring()
    await session.begin_generation(scoring, deadline)
    try:
        parts = []
        size = _max_steps(info, wanted, client.max_data_bytes)
        for first in range(0, len(values), size):
            request = _request(info, field, [values[first : first + size]], [wanted[first : first + size]])
            request.session_id, request.position = session.id, session.position
            response = await client.transport.call(client.transport.inference.Score, request, deadline=deadline)
            client.driver.move_to(session.rows.item(), response.position)
            parts.append(np.array(response.step_scores, np.float32))
    finally:
        session.end_generation(scoring)
    steps = np.concatenate(parts)
    return Score(
        float(steps.sum(dtype=np.float64) if _are_tokens(wanted, field) else steps.mean(dtype=np.float64)), steps
    )


async def score_sequences(
    model: ModelCore,
    x: ArrayLike,
    targets: ArrayLike,
    output: str | None,
    context: object,
    timeout: float | None,
) -> Any:
    """[K] of K sequences, or of a single one its score. Raises TypeError, ElmanError."""
    info, transport = model.info, model.client.transport
    field, checked = _output(info, output), check_infer_input(x, info)
    wanted = _all_targets(targets, checked, field)
    contexts = to_context(context, info, len(checked.sequences))
    check_timeout("timeout", timeout)
    deadline = transport.deadline(timeout)
    scores = np.empty(len(wanted), np.float64)
    for rows in _parts(checked.sequences, wanted, model.client.max_data_bytes):
        request = _request(info, field, [checked.sequences[i] for i in rows], [wanted[i] for i in rows])
        order = _longest_first(np.array([len(checked.sequences[i]) for i in rows], np.intp))
        _add_context(request, info, contexts, np.array(rows)[order])
        response = await transport.call(transport.inference.Score, request, deadline=deadline)
        scores[np.array(rows)[order]] = response.scores
    return float(scores[0]) if checked.form is Form.SINGLE else scores


def _request(
    info: ModelInfo, field: TensorInfo, sequences: list[Array], targets: list[Array]
) -> inference_pb2.ScoreRequest:
    # Longest first, packed.
    lengths = np.array([len(one) for one in sequences], np.intp)
    order = _longest_first(lengths)
    request = inference_pb2.ScoreRequest(
        model=info.name, version=info.version, lengths=lengths[order].tolist(), output=field.name, return_steps=True
    )
    packed = pack([sequences[i] for i in order], lengths[order])
    if len(info.inputs) > 1:
        fill_named(request.inputs, info.inputs, packed)
    else:
        fill_tensor(request.input, packed, info.inputs[0].wire_dtype)
    wanted = pack([targets[i] for i in order], lengths[order])
    fill_tensor(request.targets, wanted, wire_dtype(wanted.dtype))
    return request


def _longest_first(lengths: Index) -> Index:
    order = order_of(lengths)
    return np.arange(len(lengths)) if order is None else order


def _add_context(request: inference_pb2.ScoreRequest, info: ModelInfo, contexts: Arrays, rows: Array) -> None:
    for one in info.context:
        fill_tensor(request.context.add(name=one.name).tensor, contexts[one.name][rows], one.wire_dtype)


def _parts(sequences: list[Array], targets: list[Array], max_bytes: int) -> list[list[int]]:
    # What goes together: no more rows and bytes than a request takes, but one sequence at least.
    parts: list[list[int]] = []
    size = math.inf
    for row, (sequence, target) in enumerate(zip(sequences, targets, strict=True)):
        num_bytes = sequence.nbytes + target.nbytes
        if size + num_bytes > max_bytes or len(parts[-1]) == _ROWS_PER_CALL:
            parts.append([])
            size = 0
        parts[-1].append(row)
        size += num_bytes
    return parts


def _output(info: ModelInfo, output: str | None) -> TensorInfo:
    names = [one.name for one in info.outputs]
    if output is None and len(names) == 1:
        return info.outputs[0]
    if output is not None:
        check_text("output", output)
    if output not in names:
        raise InvalidInputError(f"output: expected one of {', '.join(map(repr, names))}, got {output!r}")
    return info.outputs[names.index(output)]


def _all_targets(targets: ArrayLike, x: InferInput, field: TensorInfo) -> list[Array]:
    lengths = x.lengths.tolist()
    if x.form is Form.SINGLE:
        return [_targets(targets, field, lengths[0], "targets")]
    if x.form is Form.EVEN:
        array = np.asarray(targets)
        if array.ndim < 2 or array.shape[1] != len(lengths):
            raise InvalidInputError(
                f"targets: expected [{x.even_steps}, {len(lengths)}, ...] as x, got {list(array.shape)}"
            )
        return [_targets(array[:, row], field, length, f"targets[:, {row}]") for row, length in enumerate(lengths)]
    if not isinstance(targets, list | tuple) or len(targets) != len(lengths):
        raise InvalidInputError(f"targets: expected a list of {len(lengths)}, one for each sequence")
    pairs = zip(targets, lengths, strict=True)
    return [_targets(one, field, length, f"targets[{row}]") for row, (one, length) in enumerate(pairs)]


def _targets(value: ArrayLike, field: TensorInfo, steps: int, name: str) -> Array:
    # Tokens [T] where they are integers and the output a vector, else values [T, *features].
    kind = np.asarray(value).dtype.kind if not hasattr(value, "detach") else value.detach().cpu().numpy().dtype.kind
    is_tokens = kind in "iu" and len(field.features) == 1 and np.ndim(value) == 1
    array = to_array(value, np.dtype(np.int64) if is_tokens else field.dtype, name)
    expected = (steps,) if is_tokens else (steps, *field.features)
    if array.shape != expected:
        raise InvalidInputError(f"{name}: expected {list(expected)}, one for each step, got {list(array.shape)}")
    return array


def _are_tokens(targets: Array, field: TensorInfo) -> bool:
    return targets.ndim == 1 and len(field.features) == 1


def _max_steps(info: ModelInfo, targets: Array, max_bytes: int) -> int:
    step = sum(one.num_bytes for one in info.inputs) + targets[:1].nbytes
    return max(1, max_bytes // step)
