"""Whole sequences without a session: cut into requests as the limits ask, and put together again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from elman._calls.infer_input import Form, InferInput
from elman._calls.infer_parts import InferLimits, InferPart, PartSizes
from elman._shared.arrays import ArrayLike, to_context, to_state, to_states
from elman._shared.deadline import Deadline
from elman._shared.errors import ElmanError, InvalidInputError, LimitReachedError
from elman._shared.info import ModelInfo, TensorInfo
from elman._shared.packed_layout import order_of, pack, unpack
from elman._shared.records import fill_named, name_states, read_named, read_states, wanted_outputs
from elman._shared.results import State
from elman._shared.session_ids import make_request_id
from elman._shared.transport import Transport
from elman._stepping.options import ModelOptions, part_steps, return_code
from elman.v1 import inference_pb2, tensor_pb2
from elman.wire import Array, fill_tensor, from_tensor, to_tensor

InferOutput = Any
"""An array, a list of arrays or None; of several outputs a dict of arrays, or a list of such."""


class InferOptions(TypedDict, total=False):
    """What `infer` takes by name and does not change what it returns."""

    h_0: ArrayLike | None
    c_0: ArrayLike | None
    initial_state: Mapping[str, ArrayLike] | None
    context: Mapping[str, ArrayLike] | None
    outputs: Sequence[str] | None
    timeout: float | None
    progress: bool


@dataclass(frozen=True)
class Beginning:
    """What sequences begin with, as a caller gives it."""

    h_0: ArrayLike | None = None
    c_0: ArrayLike | None = None
    initial_state: Mapping[str, ArrayLike] | None = None
    context: Mapping[str, ArrayLike] | None = None


class Inference:
    """One call of the caller's, which may be several of the server's, one after the other."""

    def __init__(
        self,
        x: InferInput,
        info: ModelInfo,
        options: ModelOptions,
        beginning: Beginning,
        keep_as: Sequence[str] | None = None,
    ) -> None:
        """`keep_as`: ids under which the server is to keep the states, one for each sequence; they do not travel then.

        Raises TypeError, InvalidInputError.
        """
        self._keep_as = keep_as
        self.kept: list[str] = []
        """Ids of the states that are kept by now."""
        self._x = x
        self._info = info
        self._options = options
        self._returning = return_code(options.returning)
        num_rows = len(x.sequences)
        self._context = to_context(beginning.context, info, num_rows)
        given = _initial_states(beginning, info, num_rows)
        self._has_state = given is not None
        self._states = given or [np.zeros(one.inner_shape(num_rows), one.dtype) for one in info.states]
        self._wanted = wanted_outputs(info, options.outputs)
        self._outputs: dict[str, list[list[Array]]] = {one.name: [[] for _ in x.sequences] for one in self._wanted}

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
        # Else a state does not have all that was before, or not where it is to be kept.
        may_cut_steps = not self._info.needs_whole_sequences and self._keep_as is None
        return [smaller for part in parts for smaller in part.cut(limits, may_cut_steps)]

    def _all(self) -> InferPart:
        lengths = self._x.lengths
        order = order_of(lengths)
        rows = np.arange(len(lengths)) if order is None else order
        lengths = lengths[rows]
        return InferPart(rows, lengths, 0, int(lengths[0]), PartSizes.of(self._info, self._options))

    async def _run(self, part: InferPart, transport: Transport, deadline: Deadline) -> None:
        request, lengths = self._request(part)
        left_seconds = deadline.left_seconds()
        if left_seconds is not None:
            request.timeout.FromNanoseconds(int(left_seconds * 1e9))
        response = await transport.call(transport.inference.Infer, request, deadline=deadline)
        self.kept += request.keep_state_as
        if self._keep_as is None:
            for mine, told in zip(self._states, read_states(response, self._info), strict=False):
                mine[:, part.rows] = told
        for field, array in self._given(response):
            per_step = self._options.returning == "all" and not field.per_row
            rows = unpack(array, lengths) if per_step else [row.copy() for row in array]
            for row, values in zip(part.rows.tolist(), rows, strict=True):
                self._outputs[field.name][row].append(values)

    def _given(self, response: inference_pb2.InferResponse) -> list[tuple[TensorInfo, Array]]:
        if response.HasField("output"):
            return [(self._wanted[0], from_tensor(response.output, name="output"))]
        arrays = read_named(response.outputs)
        return [(one, arrays[one.name]) for one in self._wanted if one.name in arrays]

    def _request(self, part: InferPart) -> tuple[inference_pb2.InferRequest, Array]:
        info, rows = self._info, part.rows
        sequences = [self._x.sequences[row][part.begin : part.end] for row in rows.tolist()]
        lengths = np.array([len(sequence) for sequence in sequences], np.intp)
        is_needed = self._options.returning == "all" or part.is_last
        request = inference_pb2.InferRequest(
            model=info.name,
            version=info.version,
            lengths=lengths.tolist(),
            return_output=self._returning if is_needed else return_code("none"),
            return_state=self._keep_as is None,
            outputs=self._options.outputs,
            context=[_named(one, self._context[one.name][rows]) for one in info.context],
        )
        if self._keep_as is not None:
            request.keep_state_as.extend(self._keep_as[row] for row in rows.tolist())
            request.request_id = make_request_id()
        values = pack(sequences, lengths)
        if len(info.inputs) > 1:
            fill_named(request.inputs, info.inputs, values)
        else:
            fill_tensor(request.input, values, info.inputs[0].wire_dtype)
        if self._has_state or part.begin:
            self._fill_states(request, [state[:, rows] for state in self._states])
        return request, lengths

    def _fill_states(self, request: inference_pb2.InferRequest, states: list[Array]) -> None:
        pairs = zip(self._info.states, states, strict=True)
        if self._info.has_stack_state:
            for field, (one, state) in zip(("h_0", "c_0"), pairs, strict=False):
                fill_tensor(getattr(request, field), state, one.wire_dtype)
        else:
            request.initial_states.extend(name_states(self._info, states))

    def _result(self) -> tuple[InferOutput, State]:
        state = State.of(self._info, self._states, tuple(self._x.lengths.tolist()))
        if self._options.returning == "none":
            return None, state
        outputs = {one.name: self._joined(one) for one in self._wanted}
        if self._options.outputs is None and len(self._info.outputs) == 1:
            return outputs[self._wanted[0].name], state
        names = self._options.outputs or tuple(outputs)
        if self._x.form is not Form.LIST:
            return {name: outputs[name] for name in names}, state
        return [{name: outputs[name][row] for name in names} for row in range(len(self._x.sequences))], state

    def _joined(self, field: TensorInfo) -> Array | list[Array]:
        of_last = self._options.returning == "last" or field.per_row
        # Of what was cut by its steps the last part has what there is one of.
        rows = [
            parts[-1] if of_last or len(parts) == 1 else np.concatenate(parts) for parts in self._outputs[field.name]
        ]
        return self._x.joined(rows, field, of_last)

    def _too_large(self, part: InferPart, error: ElmanError) -> LimitReachedError:
        row, length = int(part.rows[0]), int(part.lengths[0])
        if self._info.needs_whole_sequences:
            kind = "a bidirectional" if self._info.bidirectional else "this"
            remedy = f"{kind} model takes a sequence whole: raise the server's limit, or send shorter ones"
        elif self._keep_as is not None:
            remedy = "a state that is kept is that of one request: open a session and step it instead"
        else:
            remedy = "not even one step of it fits: raise the server's limit"
        what = f"sequence {row} of x, of {length} steps and {part.num_bytes} bytes, is too large for one request"
        return LimitReachedError(f"{what} ({error}); {remedy}", error.details)


def _named(one: TensorInfo, array: Array) -> tensor_pb2.NamedTensor:
    return tensor_pb2.NamedTensor(name=one.name, tensor=to_tensor(array, one.wire_dtype))


def _initial_states(given: Beginning, info: ModelInfo, num_rows: int) -> list[Array] | None:
    """[layers or 1, num_rows, *features] of each state; None where the model's own are meant."""
    if given.initial_state is not None:
        if given.h_0 is not None or given.c_0 is not None:
            raise InvalidInputError("initial_state: expected it or h_0 and c_0, got both")
        return to_states(given.initial_state, info, num_rows, "initial_state")
    named = _of_stack(given, info)
    if named is None:
        return None
    words = {one.name: f"{'hc'[place]}_0" for place, one in enumerate(info.states)}
    states = [to_state(named[one.name], one, words[one.name], num_rows) for one in info.states if one.name in named]
    if len(states) < len(info.states):
        given_name, missing = ("h_0", "c_0") if given.c_0 is None else ("c_0", "h_0")
        raise InvalidInputError(f"{missing}: expected h_0 and c_0 together or none of them, got {given_name} alone")
    return states


def _of_stack(given: Beginning, info: ModelInfo) -> dict[str, ArrayLike] | None:
    told = {"h_0": given.h_0, "c_0": given.c_0}
    names = [name for name, value in told.items() if value is not None]
    if not names:
        return None
    if not info.has_stack_state:
        raise InvalidInputError(
            f"{names[0]}: the state of model {info.name!r} is not one stack's; give initial_state, a dict of "
            f"{', '.join(repr(one.name) for one in info.states) or 'none'}"
        )
    if "c_0" in names and not info.has_cell_state:
        raise InvalidInputError(
            f"c_0: expected None, since model {info.name!r} is a {info.cell or 'graph'} without c, got one"
        )
    return {one.name: told[name] for one, name in zip(info.states, told, strict=False) if name in names}
