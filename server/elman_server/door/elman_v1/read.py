"""Messages into domain requests: every check that needs no session, each with what was expected and what came."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from google.protobuf.duration_pb2 import Duration
from numpy.typing import NDArray

from elman import wire
from elman.v1 import inference_pb2, tensor_pb2
from elman_server.errors import InvalidInput, LimitReached
from elman_server.exchange.frames import Frame, ResultSink, Want
from elman_server.exchange.model_view import ModelView, TensorField
from elman_server.exchange.session_calls.ids import EXPECTED, MAX_ID_LENGTH, is_session_id

I64 = NDArray[np.int64]

_WANTS = {
    tensor_pb2.RETURN_UNSPECIFIED: Want.ALL,
    tensor_pb2.RETURN_ALL: Want.ALL,
    tensor_pb2.RETURN_LAST: Want.LAST,
    tensor_pb2.RETURN_NONE: Want.NONE,
}


HasInputs = (
    inference_pb2.StepRequest | inference_pb2.InferRequest | inference_pb2.GenerateRequest | inference_pb2.ScoreRequest
)
MAX_POSITION = 1 << 62
"""Positions are below it: what is computed from them stays within 64 bits."""
MAX_ANSWER_BYTES = 63 << 20
"""A little less than gRPC takes in one message."""


def check_answer(frame: Frame, max_slice: int | None) -> None:
    """Raises InvalidInput if an answer to the frame would be more than one message holds.

    `max_slice`: steps of a row that are answered at a time; None: all.
    """
    step_bytes = frame.view.output.num_bytes
    states = frame.num_rows * frame.view.state_bytes if frame.want_state else 0
    if frame.num_steps * step_bytes + states <= MAX_ANSWER_BYTES:  # nearly always
        return
    step_bytes = frame.view.output.part(frame.outputs).num_bytes
    lengths = frame.lengths if max_slice is None else np.minimum(frame.lengths, max_slice)
    steps = {Want.ALL: int(lengths.sum()), Want.LAST: frame.num_rows, Want.NONE: 0}[frame.want]
    num_bytes = steps * step_bytes + states
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
    in_order = np.sort(handles)
    if (in_order[1:] == in_order[:-1]).any():  # a tenth of the time of `np.unique`
        raise InvalidInput("handles: each may stand once in a frame, and one is repeated")
    return handles


def read_frame(
    request: inference_pb2.StepRequest, handles: NDArray[np.uint64], view: ModelView, sink: ResultSink, now: float
) -> Frame:
    """The frame of a model's inputs. `now` in seconds on the engine's clock.

    Raises:
        InvalidInput: a length, a position, a name, the shape, the dtype or the byte count is wrong.
    """
    lengths = read_lengths(request.lengths, expected=len(handles))
    outputs = read_outputs(request.outputs, view)
    return Frame(
        frame_id=request.frame_id,
        handles=handles,
        lengths=lengths,
        positions=_read_positions(request.positions, len(handles)),
        view=view,
        data=read_inputs(request, view, lengths),
        want=read_want(request.return_output, view, outputs),
        outputs=outputs,
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


def read_inputs(request: HasInputs, view: ModelView, lengths: I64) -> NDArray[Any]:
    """[sum(lengths), *features] the packed input record: of `input`, or of `inputs`.

    Raises:
        InvalidInput: a name, the dtype, the shape or the byte count is wrong.
    """
    record = view.input
    steps = int(lengths[0] if len(lengths) == 1 else lengths.sum())
    if not request.inputs:
        if record.is_plain:
            return _read_steps(request.input, record.fields[0], "input", steps)
        raise InvalidInput(f"inputs: expected {quoted(record.names)}, got one without a name, or none")
    if request.HasField("input"):
        raise InvalidInput("input: expected it or `inputs`, got both")
    given = by_name(request.inputs, "inputs", record.names)
    missing = [name for name in record.names if name not in given]
    if missing:
        raise InvalidInput(f"inputs: expected {quoted(record.names)}, got none of {quoted(missing)}")
    return record.joined([_read_steps(given[f.name], f, f"input {f.name!r}", steps) for f in record.fields])


def read_outputs(names: Sequence[str], view: ModelView) -> int:
    """The outputs that are wanted, as bits: those named, or all.

    Raises:
        InvalidInput: a name is unknown, or stands twice.
    """
    if not names:
        return view.output.all
    _check_names(list(names), "outputs", view.output.names)
    return view.output.bits(names)


def read_context(named: Iterable[tensor_pb2.NamedTensor]) -> dict[str, NDArray[Any]]:
    """A context as it came, by name; whose it may be is looked at where rows begin with it (`check_context`).

    Raises:
        InvalidInput: a name stands twice, or a byte count is wrong.
    """
    return read_named(named, "context")


def read_named(named: Iterable[tensor_pb2.NamedTensor], kind: str) -> dict[str, NDArray[Any]]:
    """Tensors as they came, by name. Raises as `read_context`."""
    tensors: dict[str, NDArray[Any]] = {}
    for one in named:
        if one.name in tensors:
            raise InvalidInput(f"{kind}: each name may stand once, and {one.name!r} is repeated")
        tensors[one.name] = read_tensor(one.tensor, f"{kind} {one.name!r}").copy()
    return tensors


def read_mark(name: str) -> str:
    """The name of a mark.

    Raises:
        InvalidInput: it can be none.
    """
    if not is_session_id(name):
        raise InvalidInput(f"mark: expected {EXPECTED}, got {name[:MAX_ID_LENGTH]!r}")
    return name


def read_want(value: int, view: ModelView, outputs: int) -> Want:
    """Which steps' outputs are to travel back. Outputs that have no steps are those of the last one.

    Raises:
        InvalidInput: an unknown number.
    """
    want = _WANTS.get(value)  # type: ignore[call-overload]
    if want is None:
        raise InvalidInput(f"return_output: expected one of 0 to 3, got {value}")
    if want is Want.ALL and view.per_row_outputs and not outputs & ~view.per_row_outputs:
        return Want.LAST
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


def _read_steps(tensor: tensor_pb2.Tensor, field: TensorField, name: str, steps: int) -> NDArray[Any]:
    # [steps, *features]
    if tensor.dtype != field.wire_dtype:
        raise InvalidInput(f"{name}: expected dtype {wire_name(field.wire_dtype)}, got {wire_name(tensor.dtype)}")
    array = read_tensor(tensor, name)
    expected = (steps, *field.features)
    if array.shape != expected:
        raise InvalidInput(
            f"{name}: expected shape {list(expected)}, that is [sum(lengths), *features], got {list(array.shape)}"
        )
    return array


def by_name(named: Iterable[tensor_pb2.NamedTensor], kind: str, known: Sequence[str]) -> dict[str, tensor_pb2.Tensor]:
    """Tensors by name. Raises InvalidInput where one is not known, or stands twice."""
    named = list(named)
    _check_names([one.name for one in named], kind, known)
    return {one.name: one.tensor for one in named}


def _check_names(names: Sequence[str], kind: str, known: Sequence[str]) -> None:
    for number, name in enumerate(names):
        if name not in known:
            raise InvalidInput(f"{kind}: expected some of {quoted(known)}, got {name[:64]!r}")
        if name in names[:number]:
            raise InvalidInput(f"{kind}: each name may stand once, and {name!r} is repeated")


def quoted(names: Sequence[str]) -> str:
    """Names as they are told."""
    return ", ".join(map(repr, names))


def read_tensor(tensor: tensor_pb2.Tensor, name: str) -> NDArray[Any]:
    """A tensor as it came. Raises InvalidInput: its byte count is not that of its shape, or it has no dtype."""
    try:
        return wire.from_tensor(tensor, name=name)
    except wire.WireError as error:
        raise InvalidInput(str(error)) from error


def wire_name(dtype: int) -> str:
    """A dtype of the contract as it is told."""
    known = tensor_pb2.DataType.values()
    return tensor_pb2.DataType.Name(dtype).removeprefix("DATA_TYPE_") if dtype in known else str(dtype)  # type: ignore[arg-type]


def _some(values: I64) -> str:
    return f"{values[:8].tolist()}{' and more' * (len(values) > 8)}"
