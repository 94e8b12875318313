"""What a caller wants of a step, and what follows from it: which chunks may share a frame, and how they are cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from elman._shared.errors import InvalidInputError
from elman._shared.info import ModelInfo, TensorInfo
from elman._shared.records import check_outputs, wanted_outputs
from elman.v1 import tensor_pb2

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

    returning: str | None  # None: what the author's module gives
    outputs: object  # names, as the caller gave them; None: all
    state: bool
    timeout_seconds: float | None
    progress: bool = False  # whether it is to be cut so that a bar moves
    every: int | None = None  # of every so many steps the last one's output; None: as `returning` says

    def of(self, info: ModelInfo) -> ModelOptions:
        """For a model. Raises TypeError, InvalidInputError."""
        returning = self.returning
        if returning is None:
            returning = "last" if info.gives_last_only else "all"
        outputs = None if self.outputs is None else check_outputs(info, self.outputs)
        if self.every is not None:
            returning = "last"
        return ModelOptions(returning, outputs, self.state, self.timeout_seconds, self.progress, self.every)


class ModelOptions(NamedTuple):
    """What a caller wants of a step of a model."""

    returning: str
    outputs: tuple[str, ...] | None
    state: bool
    timeout_seconds: float | None
    progress: bool = False
    every: int | None = None


class FrameKey(NamedTuple):
    """Chunks with the same key may share a frame."""

    model: str
    version: str
    input_dtype: tensor_pb2.DataType.ValueType
    returning: tensor_pb2.Return.ValueType
    return_state: bool
    timeout_seconds: float | None
    inputs: tuple[TensorInfo, ...] = ()  # of a model of several
    outputs: tuple[str, ...] = ()  # those that are named
    states: tuple[TensorInfo, ...] = ()  # where they travel by name


class StepTerms(NamedTuple):
    """What steps of one model with the same options have in common."""

    options: ModelOptions
    key: FrameKey
    max_steps: int
    """Of a message."""

    @classmethod
    def of(cls, options: StepOptions, info: ModelInfo, max_bytes: int) -> StepTerms:
        """For messages of at most `max_bytes`. Raises TypeError, InvalidInputError."""
        asked = options.of(info)
        return cls(asked, frame_key(info, asked), max_steps(info, asked, max_bytes))


def return_code(returning: str) -> tensor_pb2.Return.ValueType:
    """The contract's word for "all", "last" or "none". Raises TypeError, InvalidInputError."""
    expected = f"returning: expected one of {', '.join(_RETURNS)}, got {returning!r}"
    if not isinstance(returning, str):
        raise TypeError(expected)
    if returning not in _RETURNS:
        raise InvalidInputError(expected)
    return _RETURNS[returning]


def frame_key(info: ModelInfo, options: ModelOptions) -> FrameKey:
    """What the step's frame has in common with others'."""
    returning = return_code(options.returning)
    key = FrameKey(
        info.name, info.version, info.inputs[0].wire_dtype, returning, options.state, options.timeout_seconds
    )
    if len(info.inputs) > 1 or options.outputs or (options.state and not info.has_stack_state):
        key = key._replace(
            inputs=info.inputs if len(info.inputs) > 1 else (),
            outputs=options.outputs or (),
            states=() if info.has_stack_state else info.states,
        )
    return key


def max_steps(info: ModelInfo, options: ModelOptions, max_bytes: int) -> int:
    """Most session-steps in a message, whichever of the request and the answer is larger."""
    step_bytes = info.input_step_bytes
    if options.returning == "all":
        step_bytes = max(step_bytes, _output_bytes(info, options.outputs))
    return max(1, max_bytes // max(1, step_bytes))


def _output_bytes(info: ModelInfo, outputs: tuple[str, ...] | None) -> int:
    if outputs is None:
        return info.output_step_bytes
    return sum(one.num_bytes for one in wanted_outputs(info, outputs))


def part_steps(num_steps: int) -> int:
    """Steps of a part."""
    return max(MIN_PART_STEPS, -(-num_steps // NUM_PARTS))
