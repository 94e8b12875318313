"""Messages into domain requests: every check that needs no session, each with what was expected and what came."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from google.protobuf.duration_pb2 import Duration
from numpy.typing import NDArray

from elman import wire
from elman.v1 import inference_pb2, tensor_pb2
from elman_models.layout import has_repeats
from elman_models.spec import ModelSpec
from elman_models.state import State
from elman_server.errors import InvalidInput, LimitReached
from elman_server.exchange.frames import Frame, ResultSink, Want
from elman_server.exchange.model_view import InputSpec

I64 = NDArray[np.int64]

_WANTS = {
    tensor_pb2.RETURN_UNSPECIFIED: Want.ALL,
    tensor_pb2.RETURN_ALL: Want.ALL,
    tensor_pb2.RETURN_LAST: Want.LAST,
    tensor_pb2.RETURN_NONE: Want.NONE,
}


MAX_POSITION = 1 << 62
"""Positions are below it: what is computed from them stays within 64 bits."""
MAX_ANSWER_BYTES = 63 << 20
"""A little less than gRPC takes in one message."""


def check_answer(frame: Frame, spec: ModelSpec, max_slice: int | None) -> None:
    """Raises InvalidInput if an answer to the frame would be more than one message holds.

    `max_slice`: steps of a row that are answered at a time; None: all.
    """
    states = frame.num_rows * spec.state_numel if frame.want_state else 0
    if 4 * (frame.num_steps * spec.output_size + states) <= MAX_ANSWER_BYTES:  # nearly always
        return
    lengths = frame.lengths if max_slice is None else np.minimum(frame.lengths, max_slice)
    steps = {Want.ALL: int(lengths.sum()), Want.LAST: frame.num_rows, Want.NONE: 0}[frame.want]
    num_bytes = 4 * (steps * spec.output_size + states)
    if num_bytes > MAX_ANSWER_BYTES:
        raise InvalidInput(
            f"an answer would have {num_bytes} bytes, and {MAX_ANSWER_BYTES} are the most: send fewer rows or steps at "
            "a time, or ask for the last output only"
        )


def check_size(num_bytes: int, limit: int) -> None:
    """Raises LimitReached for a message of more than `limit` bytes; a retry does not help."""
    if num_bytes > limit:
        text = f"max_frame_bytes is {limit}, and the message has {num_bytes}"
        raise LimitReached(text, metadata={"limit": "max_frame_bytes", "value": limit})


def read_handles(request: inference_pb2.StepRequest) -> NDArray[np.uint64]:
    """[K] the handles of a frame.

    Raises:
        InvalidInput: none, or one stands twice.
    """
    handles = np.fromiter(request.handles, np.uint64, len(request.handles))
    if not len(handles):
        raise InvalidInput("handles: expected at least one, got none")
    if has_repeats(np.sort(handles)):
        raise InvalidInput("handles: each may stand once in a frame, and one is repeated")
    return handles


def read_frame(
    request: inference_pb2.StepRequest, handles: NDArray[np.uint64], spec: InputSpec, sink: ResultSink, now: float
) -> Frame:
    """The frame of a model's input. `now` in seconds on the engine's clock.

    Raises:
        InvalidInput: a length, a position, the shape, the dtype or the byte count is wrong.
    """
    lengths = read_lengths(request.lengths, expected=len(handles))
    return Frame(
        frame_id=request.frame_id,
        handles=handles,
        lengths=lengths,
        positions=_read_positions(request.positions, len(handles)),
        data=read_input(request.input, spec, lengths),
        want=read_want(request.return_output),
        want_state=request.return_state,
        deadline=now + read_timeout(request.timeout) if request.HasField("timeout") else math.inf,
        sink=sink,
        arrived=now,
        open_rows=len(handles),
    )


def read_lengths(field: Sequence[int], *, expected: int | None = None) -> I64:
    """[K] steps of each row.

    Raises:
        InvalidInput: their number is not `expected`, or one is 0 or more than the one before.
    """
    count = len(field)
    if expected is not None and count != expected:
        raise InvalidInput(f"lengths: expected {expected}, one for each handle, got {count}")
    if not count:
        raise InvalidInput("lengths: expected at least one, got none")
    lengths = np.array([field[0]], np.int64) if count == 1 else np.fromiter(field, np.int64, count)
    if lengths[-1] < 1 or (count > 1 and lengths.min() < 1):
        raise InvalidInput("lengths: each row has at least 1 step, and one has 0")
    if count > 1 and (np.diff(lengths) > 0).any():
        raise InvalidInput(f"lengths: expected longest first (non-increasing), got {_some(lengths)}")
    return lengths


def read_input(tensor: tensor_pb2.Tensor, spec: InputSpec, lengths: I64) -> NDArray[Any]:
    """[sum(lengths), *features] the packed input.

    Raises:
        InvalidInput: the dtype, the shape or the byte count is wrong.
    """
    steps = lengths[0] if len(lengths) == 1 else lengths.sum()
    expected = (int(steps), *spec.features)
    if tensor.dtype != spec.wire_dtype:
        raise InvalidInput(f"input: expected dtype {_wire_name(spec.wire_dtype)}, got {_wire_name(tensor.dtype)}")
    array = _decode(tensor, "input")
    if array.shape != expected:
        raise InvalidInput(
            f"input: expected shape {list(expected)}, that is [sum(lengths), *features], got {list(array.shape)}"
        )
    return array


def read_state(request: inference_pb2.InferRequest, spec: ModelSpec, rows: int) -> State | None:
    """The initial state of `Infer`, if there is one: h [state_layers, rows, state_size], c [..., hidden_size].

    Raises:
        InvalidInput: the dtype, the shape or the byte count is wrong, a value is not finite, or one of the two
            is missing.
    """
    given = {name for name in ("h_0", "c_0") if request.HasField(name)}
    needed = {"h_0", "c_0"} if spec.has_cell_state else {"h_0"}
    if not given:
        return None
    if given != needed:
        raise InvalidInput(f"expected {' and '.join(sorted(needed))} together or none, got {', '.join(sorted(given))}")
    h = _read_state(request.h_0, "h_0", (spec.state_layers, rows, spec.state_size))
    c = _read_state(request.c_0, "c_0", (spec.state_layers, rows, spec.hidden_size)) if spec.has_cell_state else None
    return State(torch.from_numpy(h.copy()), None if c is None else torch.from_numpy(c.copy()))


def read_want(value: int) -> Want:
    """What is to travel back.

    Raises:
        InvalidInput: an unknown number.
    """
    want = _WANTS.get(value)  # type: ignore[call-overload]
    if want is None:
        raise InvalidInput(f"return_output: expected one of 0 to 3, got {value}")
    return Want(want)


def read_timeout(duration: Duration) -> float:
    """Seconds.

    Raises:
        InvalidInput: negative.
    """
    seconds = duration.seconds + duration.nanos / 1e9
    if seconds < 0:
        raise InvalidInput(f"timeout: expected 0 or more seconds, got {seconds:g}")
    return seconds


def _read_positions(field: Sequence[int], rows: int) -> I64 | None:
    if not field:
        return None
    if len(field) != rows:
        raise InvalidInput(f"positions: expected {rows}, one for each handle, or none, got {len(field)}")
    positions = np.fromiter(field, np.uint64, rows)
    if positions.max() >= MAX_POSITION:
        raise InvalidInput(f"positions: expected less than 2^62, got {positions.max()}")
    return positions.astype(np.int64)


def _read_state(tensor: tensor_pb2.Tensor, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if tensor.dtype != wire.F32:
        raise InvalidInput(f"{name}: expected dtype F32, got {_wire_name(tensor.dtype)}")
    array = _decode(tensor, name)
    if array.shape != shape:
        raise InvalidInput(f"{name}: expected shape {list(shape)}, got {list(array.shape)}")
    if not np.isfinite(array).all():
        raise InvalidInput(f"{name}: a value is NaN or infinite")
    return array


def _decode(tensor: tensor_pb2.Tensor, name: str) -> NDArray[Any]:
    try:
        return wire.from_tensor(tensor, name=name)
    except wire.WireError as error:
        raise InvalidInput(str(error)) from error


def _wire_name(dtype: int) -> str:
    known = tensor_pb2.DataType.values()
    return tensor_pb2.DataType.Name(dtype).removeprefix("DATA_TYPE_") if dtype in known else str(dtype)  # type: ignore[arg-type]


def _some(values: I64) -> str:
    return f"{values[:8].tolist()}{' and more' * (len(values) > 8)}"
