"""States and contexts that messages bring: of rows, of sessions that begin, of one that lives."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.v1 import inference_pb2, sessions_pb2, tensor_pb2
from elman_server.door.elman_v1.read import by_name, quoted, read_context, read_tensor, wire_name
from elman_server.errors import InvalidInput
from elman_server.exchange.initial import Initial, check_context, check_tensor
from elman_server.exchange.model_view import ModelView, TensorField


def read_initial(request: inference_pb2.InferRequest, view: ModelView, rows: int) -> Initial:
    """What the rows of `Infer` begin with.

    Raises:
        InvalidInput: a name, a dtype, a shape or a byte count is wrong, a value is not finite, or one is missing.
    """
    context = read_context(request.context)
    check_context(view, context, rows)
    stack = {name: getattr(request, name) for name in ("h_0", "c_0") if request.HasField(name)}
    states = _read_states(stack, request.initial_states, "initial_states", ("h_0", "c_0"), view, rows)
    if states and view.computed_starts:
        raise InvalidInput(
            f"initial state: expected none, since {quoted(view.computed_starts)} of this model begins with what it "
            "computes, got one"
        )
    return Initial(states, context)


def read_opening(request: sessions_pb2.OpenSessionsRequest, view: ModelView, rows: int) -> tuple[NDArray[Any], ...]:
    """The states that sessions begin with, if there are any. Raises as `read_initial`."""
    stack = {name: getattr(request, name) for name in ("h_0", "c_0") if request.HasField(name)}
    return _read_states(stack, request.initial_states, "initial_states", ("h_0", "c_0"), view, rows)


def read_new_state(request: sessions_pb2.SetSessionStateRequest, view: ModelView) -> Initial:
    """The state that a session is to have, or nothing for what the model begins with.

    Raises:
        InvalidInput: both or neither, or as `read_initial`.
    """
    stack = {name: getattr(request, name) for name in ("h_n", "c_n") if request.HasField(name)}
    states = _read_states(stack, request.states, "states", ("h_n", "c_n"), view, 1)
    if bool(states) == request.reset:
        raise InvalidInput(f"expected a state or reset, one of the two, got {'both' if states else 'neither'}")
    return Initial(states)


def read_named_states(named: Sequence[tensor_pb2.NamedTensor], view: ModelView, field: str) -> tuple[NDArray[Any], ...]:
    """[layers or 1, rows, *features] of each of a model's states, all by name, of however many rows each has.

    Raises:
        InvalidInput: one is missing or unknown, or as `read_initial`.
    """
    names = [one.name for one in view.states]
    given = by_name(named, field, names)
    if set(given) != set(names):
        raise InvalidInput(f"{field}: expected {quoted(names)}, got {quoted(list(given))}")
    rows = {one.name: list(given[one.name].shape[1 if one.layers else 0 :])[:1] or [0] for one in view.states}
    return tuple(_read_state(given[one.name], one, f"{field} {one.name!r}", rows[one.name][0]) for one in view.states)


def _read_states(
    stack: Mapping[str, tensor_pb2.Tensor],
    named: Sequence[tensor_pb2.NamedTensor],
    field: str,
    of_stack: Sequence[str],
    view: ModelView,
    rows: int,
) -> tuple[NDArray[Any], ...]:
    # [layers or 1, rows, *features] of each state, if there are any: `stack` where the state is one stack's, else
    # `named`, which the message calls `field`.
    told = list(of_stack[: len(view.states)]) if view.has_stack_state else [one.name for one in view.states]
    if view.has_stack_state and named:
        raise InvalidInput(f"{field}: the state of this model is given as {' and '.join(told)}")
    if stack and not view.has_stack_state:
        raise InvalidInput(f"{', '.join(stack)}: the state of this model is given by name, as {field}")
    given = stack if view.has_stack_state else by_name(named, field, told)
    if not given:
        return ()
    if set(given) != set(told):
        raise InvalidInput(f"expected {' and '.join(told)} together or none, got {', '.join(given)}")
    return tuple(_read_state(given[name], one, name, rows) for name, one in zip(told, view.states, strict=True))


def _read_state(tensor: tensor_pb2.Tensor, field: TensorField, name: str, rows: int) -> NDArray[Any]:
    # [layers or 1, rows, *features]
    if tensor.dtype != field.wire_dtype:
        raise InvalidInput(f"{name}: expected dtype {wire_name(field.wire_dtype)}, got {wire_name(tensor.dtype)}")
    array = read_tensor(tensor, name)
    shape = field.shape(rows)
    if array.shape != shape:
        raise InvalidInput(f"{name}: expected shape {list(shape)}, got {list(array.shape)}")
    if not field.num_embeddings and not np.isfinite(array).all():
        raise InvalidInput(f"{name}: a value is NaN or infinite")
    if field.num_embeddings:
        check_tensor(field, array, "state", rows)
    return array.reshape(field.seam_shape(rows)).copy()
