"""What a caller wants of a step, and what follows from it: which chunks may share a frame, and how they are cut."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from elman._shared.errors import InvalidInputError
from elman._shared.info import ModelInfo
from elman.v1 import tensor_pb2
from elman.wire import itemsize

Returning = Literal["all", "last", "none"]
"""Which steps' outputs come back: every step's, the last one's only, or none."""

_RETURNS: Final[dict[str, tensor_pb2.Return.ValueType]] = {
    "all": tensor_pb2.RETURN_ALL,
    "last": tensor_pb2.RETURN_LAST,
    "none": tensor_pb2.RETURN_NONE,
}
MAX_FRAME_ROWS: Final = 4096
"""Most rows of a frame: larger ones gain nothing and hold up their neighbours."""
NUM_PARTS: Final = 100
"""About as many times as a bar moves."""
MIN_PART_STEPS: Final = 256
"""Fewer steps are not worth a message of their own."""


@dataclass(frozen=True)
class StepOptions:
    """What a caller wants of a step."""

    returning: str
    state: bool
    timeout_seconds: float | None
    progress: bool = False  # whether it is to be cut so that a bar moves


class FrameKey(NamedTuple):
    """Chunks with the same key may share a frame."""

    model: str
    version: str
    input_dtype: tensor_pb2.DataType.ValueType
    returning: tensor_pb2.Return.ValueType
    return_state: bool
    timeout_seconds: float | None


def return_code(returning: str) -> tensor_pb2.Return.ValueType:
    """The contract's word for "all", "last" or "none". Raises TypeError, InvalidInputError."""
    expected = f"returning: expected one of {', '.join(_RETURNS)}, got {returning!r}"
    if not isinstance(returning, str):
        raise TypeError(expected)
    if returning not in _RETURNS:
        raise InvalidInputError(expected)
    return _RETURNS[returning]


def frame_key(info: ModelInfo, options: StepOptions) -> FrameKey:
    """What the step's frame has in common with others'."""
    returning = return_code(options.returning)
    return FrameKey(info.name, info.version, info.input_wire_dtype, returning, options.state, options.timeout_seconds)


def max_steps(info: ModelInfo, options: StepOptions, max_bytes: int) -> int:
    """Most session-steps in a message, whichever of the request and the answer is larger."""
    step_bytes = itemsize(info.input_wire_dtype) * math.prod(info.input_features)
    if options.returning == "all":
        step_bytes = max(step_bytes, itemsize(info.output_wire_dtype) * info.output_size)
    return max(1, max_bytes // step_bytes)


def part_steps(num_steps: int) -> int:
    """Steps of a part."""
    return max(MIN_PART_STEPS, -(-num_steps // NUM_PARTS))
