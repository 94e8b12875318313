"""Whole sequences without a session: arrays to a request, a response to arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elman._cast import ArrayLike, ragged_items, to_array, to_sequence
from elman._errors import InvalidInputError
from elman._info import ModelInfo
from elman._packed import Index, order_of, pack, undo, unpack
from elman._result import State, return_code
from elman._step import StepOptions
from elman.v1 import inference_pb2
from elman.wire import Array, from_tensor, to_tensor

InferOutput = Array | list[Array] | None


@dataclass(frozen=True)
class InferCall:
    """A request, and how to read its response."""

    request: inference_pb2.InferRequest
    lengths: Index  # [K], non-increasing
    order: Index | None  # how the caller's sequences were sorted
    is_list: bool
    returning: str

    def result(self, response: inference_pb2.InferResponse) -> tuple[InferOutput, State]:
        """Outputs in the caller's form and order, and the states."""
        h_n = self._state(from_tensor(response.h_n, name="h_n"))
        c_n = self._state(from_tensor(response.c_n, name="c_n")) if response.HasField("c_n") else None
        lengths = np.array(undo(self.order, self.lengths.tolist()))
        state = State(h_n, c_n, tuple(lengths.tolist()))
        if self.returning == "none":
            return None, state
        output = from_tensor(response.output, name="output")
        rows = unpack(output, self.lengths) if self.returning == "all" else [row.copy() for row in output]
        outputs = undo(self.order, rows)
        return (outputs if self.is_list else outputs[0]), state

    def _state(self, state: Array) -> Array:
        if self.order is None:
            return state.copy()
        unsorted = np.empty_like(state)
        unsorted[:, self.order] = state
        return unsorted


def infer_call(
    x: ArrayLike,
    info: ModelInfo,
    options: StepOptions,
    h_0: ArrayLike | None,
    c_0: ArrayLike | None,
) -> InferCall:
    """One sequence [T, *features], or a list of K of any lengths. Raises InvalidInputError."""
    items = ragged_items(x)
    is_list = items is not None
    sequences = [_sequence(item, info, f"x[{row}]") for row, item in enumerate(items or ())] or [_sequence(x, info)]
    lengths = np.array([len(sequence) for sequence in sequences], np.intp)
    order = order_of(lengths)
    if order is not None:
        lengths = lengths[order]
        sequences = [sequences[row] for row in order]
    request = inference_pb2.InferRequest(
        model=info.name,
        version=info.version,
        lengths=lengths.tolist(),
        input=to_tensor(pack(sequences, lengths), info.input_wire_dtype),
        return_output=return_code(options.returning),
        return_state=True,
    )
    _set_state(request, info, order, h_0, c_0)
    return InferCall(request, lengths, order, is_list, options.returning)


def _sequence(value: ArrayLike, info: ModelInfo, name: str = "x") -> Array:
    sequence, is_single = to_sequence(value, info, None, name)
    if is_single:
        raise InvalidInputError(f"{name}: expected a sequence with a T axis, got one step {list(sequence.shape[1:])}")
    return sequence


def _set_state(
    request: inference_pb2.InferRequest,
    info: ModelInfo,
    order: Index | None,
    h_0: ArrayLike | None,
    c_0: ArrayLike | None,
) -> None:
    num_rows = len(request.lengths)
    if h_0 is not None:
        state = _checked(h_0, "h_0", info, (info.state_layers, num_rows, info.state_size))
        request.h_0.CopyFrom(to_tensor(state if order is None else state[:, order], info.output_wire_dtype))
    if c_0 is not None:
        state = _checked(c_0, "c_0", info, (info.state_layers, num_rows, info.hidden_size))
        request.c_0.CopyFrom(to_tensor(state if order is None else state[:, order], info.output_wire_dtype))


def _checked(value: ArrayLike, name: str, info: ModelInfo, shape: tuple[int, ...]) -> Array:
    state = to_array(value, info.output_dtype, name)
    if state.shape != shape:
        raise InvalidInputError(f"{name}: expected {list(shape)}, got {list(state.shape)}")
    return state
