"""Whole sequences without a session: cut into requests as the limits ask, and put together again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from elman._infer_input import InferInput
from elman._infer_parts import InferLimits, InferPart, PartSizes
from elman._shared.arrays import ArrayLike, to_array
from elman._shared.deadline import Deadline
from elman._shared.errors import ElmanError, InvalidInputError, LimitReachedError
from elman._shared.info import ModelInfo
from elman._shared.packed_layout import order_of, pack, unpack
from elman._shared.results import State
from elman._shared.transport import Transport
from elman._stepping.options import StepOptions, part_steps, return_code
from elman.v1 import inference_pb2
from elman.wire import Array, from_tensor, to_tensor

InferOutput = Array | list[Array] | None


class Inference:
    """One call of the caller's, which may be several of the server's, one after the other."""

    def __init__(
        self, x: InferInput, info: ModelInfo, options: StepOptions, h_0: ArrayLike | None, c_0: ArrayLike | None
    ) -> None:
        """Raises InvalidInputError."""
        self._x = x
        self._info = info
        self._options = options
        self._returning = return_code(options.returning)
        self._has_state = h_0 is not None
        num_rows = len(x.sequences)
        self._h = np.zeros((info.state_layers, num_rows, info.state_size), info.output_dtype)
        self._c = np.zeros((info.state_layers, num_rows, info.hidden_size), info.output_dtype)
        self._set_initial_state(h_0, c_0)
        self._outputs: list[list[Array]] = [[] for _ in x.sequences]

    async def run(
        self, transport: Transport, limits: InferLimits, tick: Callable[[int], object]
    ) -> tuple[InferOutput, State]:
        """Outputs in the form of the input, and the states; `tick` is told of steps as they are done.

        Raises ElmanError; the sequences run or the call fails, none is left out.
        """
        deadline = Deadline.after(self._options.timeout_seconds)
        pending = self._begin(limits)
        while pending:
            part, *rest = pending
            try:
                await self._run(part, transport, deadline)
            except LimitReachedError as error:
                if error.retry_after_seconds is not None:
                    raise
                limits.lower(error, len(part.rows), part.num_bytes)
                pending = self._cut(pending, limits)
                if pending[0].num_steps == part.num_steps:
                    raise self._too_large(part, error) from error
                continue
            tick(part.num_steps)
            pending = rest
        return self._result()

    def _begin(self, limits: InferLimits) -> list[InferPart]:
        if not self._x.sequences:
            return []
        whole = self._all()
        if self._options.progress:
            limits = limits.within(part_steps(whole.num_steps) * whole.sizes.step_bytes + whole.sizes.row_bytes)
        return self._cut([whole], limits)

    def _cut(self, parts: Sequence[InferPart], limits: InferLimits) -> list[InferPart]:
        may_cut_steps = not self._info.bidirectional  # there a state does not have all that was before
        return [smaller for part in parts for smaller in part.cut(limits, may_cut_steps)]

    def _all(self) -> InferPart:
        lengths = self._x.lengths
        order = order_of(lengths)
        rows = np.arange(len(lengths)) if order is None else order
        lengths = lengths[rows]
        return InferPart(rows, lengths, 0, int(lengths[0]), PartSizes.of(self._info, self._options.returning))

    async def _run(self, part: InferPart, transport: Transport, deadline: Deadline) -> None:
        request, lengths = self._request(part)
        left_seconds = deadline.left_seconds()
        if left_seconds is not None:
            request.timeout.FromNanoseconds(int(left_seconds * 1e9))
        response = await transport.call(transport.inference.Infer, request, deadline=deadline)
        self._h[:, part.rows] = from_tensor(response.h_n, name="h_n")
        if response.HasField("c_n"):
            self._c[:, part.rows] = from_tensor(response.c_n, name="c_n")
        if not response.HasField("output"):
            return
        output = from_tensor(response.output, name="output")
        rows = unpack(output, lengths) if self._options.returning == "all" else [row.copy() for row in output]
        for row, values in zip(part.rows.tolist(), rows, strict=True):
            self._outputs[row].append(values)

    def _request(self, part: InferPart) -> tuple[inference_pb2.InferRequest, Array]:
        info, rows = self._info, part.rows
        sequences = [self._x.sequences[row][part.begin : part.end] for row in rows.tolist()]
        lengths = np.array([len(sequence) for sequence in sequences], np.intp)
        is_needed = self._options.returning == "all" or part.is_last
        request = inference_pb2.InferRequest(
            model=info.name,
            version=info.version,
            lengths=lengths.tolist(),
            input=to_tensor(pack(sequences, lengths), info.input_wire_dtype),
            return_output=self._returning if is_needed else return_code("none"),
            return_state=True,
        )
        if self._has_state or part.begin:
            request.h_0.CopyFrom(to_tensor(self._h[:, rows], info.output_wire_dtype))
            if info.has_cell_state:
                request.c_0.CopyFrom(to_tensor(self._c[:, rows], info.output_wire_dtype))
        return request, lengths

    def _result(self) -> tuple[InferOutput, State]:
        state = State(self._h, self._c if self._info.has_cell_state else None, tuple(self._x.lengths.tolist()))
        if self._options.returning == "none":
            return None, state
        outputs = [parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in self._outputs]
        return self._x.joined(outputs, self._info, self._options.returning == "last"), state

    def _set_initial_state(self, h_0: ArrayLike | None, c_0: ArrayLike | None) -> None:
        info = self._info
        if c_0 is not None and not info.has_cell_state:
            raise InvalidInputError(
                f"c_0: expected None, since model {info.name!r} is a {info.cell} without c, got one"
            )
        if h_0 is not None:
            self._h[...] = self._checked(h_0, "h_0", self._h.shape)
        if c_0 is not None:
            self._c[...] = self._checked(c_0, "c_0", self._c.shape)
        if info.has_cell_state and (h_0 is None) != (c_0 is None):
            missing, given = ("h_0", "c_0") if h_0 is None else ("c_0", "h_0")
            raise InvalidInputError(f"{missing}: expected h_0 and c_0 together or none of them, got {given} alone")

    def _checked(self, value: ArrayLike, name: str, shape: tuple[int, ...]) -> Array:
        state = to_array(value, self._info.output_dtype, name)
        if state.shape != shape:
            raise InvalidInputError(f"{name}: expected {list(shape)}, got {list(state.shape)}")
        return state

    def _too_large(self, part: InferPart, error: ElmanError) -> LimitReachedError:
        row, length = int(part.rows[0]), int(part.lengths[0])
        if self._info.bidirectional:
            remedy = "a bidirectional model takes a sequence whole: raise the server's limit, or send shorter ones"
        else:
            remedy = "not even one step of it fits: raise the server's limit"
        what = f"sequence {row} of x, of {length} steps and {part.num_bytes} bytes, is too large for one request"
        return LimitReachedError(f"{what} ({error}); {remedy}", error.details)
