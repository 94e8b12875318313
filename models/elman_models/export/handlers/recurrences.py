"""Recurrent stacks and cells."""

from dataclasses import dataclass

from elman_models.export.broadcasting import reshaped, without_units
from elman_models.export.call import Call
from elman_models.export.handlers.identities import as_floats
from elman_models.export.handlers.registry import handles
from elman_models.export.handlers.unrolled import unrolled
from elman_models.export.traced import DYNAMIC, Role, Traced
from elman_models.graph.operations import operation_of
from elman_models.graph.operations.recurrences import Recurrence
from elman_models.graph.operations.reset_before import GruResetBefore
from elman_models.graph.spec import Node, StateSpec
from elman_models.graph.value import Per, Value

_STATES = ("h", "c")
Stack = Recurrence | GruResetBefore
_COMPUTED = (
    "a stack's initial state is computed from an input. For sessions: let forward take the state itself, "
    "[layers, batch, size], compute it on the caller's side, and open them with initial_state"
)


@dataclass(frozen=True)
class StackLayout:
    """Where a stack's input has time and batch, and its output likewise."""

    roles: tuple[Role, ...]
    is_single_step: bool = False
    """Whether the axis of time is one step, of a step graph."""


@handles("stack")
def stack(call: Call) -> object:
    """A stack by its plans; or joining tensors, of which torch's operation bears the same name."""
    if "elman_export" not in str(call.node.target):
        from elman_models.export.handlers.joins import stacked

        return stacked(call)
    given = as_floats(call, call.tensor("input"))
    given = without_units(call, given, [len(given.roles) - 1])
    layout = _layout(call, given)
    if layout is None or (layout.is_single_step and call.translation.uses_cells):
        return unrolled(call, given)
    return _recurrence(call, given, layout)


def _layout(call: Call, given: Traced) -> StackLayout | None:
    """None: over features, or of another batch than the sequences'."""
    is_batch_first, batch, time = call.flag("batch_first"), call.sequences.batch, call.sequences.time
    if given.roles[-1] is not Role.FEATURE:
        call.refuse(
            f"the last axis of a stack's input is that of {given.roles[-1]}", "permute it to be that of features"
        )
    if len(given.roles) == 2:
        if given.roles[0] is Role.TIME:
            return StackLayout(given.roles)
        call.refuse(f"a stack's input of two axes, the first that of {given.roles[0]}")
    first, second = given.roles[:2]
    over, rows = (second, first) if is_batch_first else (first, second)
    row_axis = 0 if is_batch_first else 1
    if over is Role.TIME and rows is Role.BATCH:
        return StackLayout(given.roles)
    if over is Role.TIME and batch is None and _is_one(given, row_axis):
        return StackLayout(_with_unit(given.roles, row_axis))
    if time is None and rows is Role.BATCH and _is_one(given, 1 - row_axis):
        return StackLayout(_with_unit(given.roles, 1 - row_axis), is_single_step=True)
    if over is Role.BATCH or rows is Role.TIME:
        call.refuse(
            f"a stack runs along the axis of {over}, with that of {rows} as its batch",
            "say batch_first as the input is laid out, as other stacks of the module do",
        )
    return None


def _with_unit(roles: tuple[Role, ...], axis: int) -> tuple[Role, ...]:
    return (*roles[:axis], Role.UNIT, *roles[axis + 1 :])


def _is_one(given: Traced, axis: int) -> bool:
    return given.roles[axis] not in DYNAMIC and given.size(axis) == 1


def _recurrence(call: Call, given: Traced, layout: StackLayout) -> list[Traced | None]:
    op = str(call.get("mode")).lower()
    flat = reshaped(call, given, (given.features[-1],), layout.roles)
    if flat.value.per is Per.ROW:
        flat = call.builder.each_step(flat)
    elif flat.value.per is Per.MODEL:
        call.refuse("a stack whose input is a constant")
    if flat.last_only:
        call.whole("a stack runs on the last step's value of another")
    named = ("hidden_size", "num_layers", "bias", "bidirectional", "proj_size")
    parameters = {name: call.get(name) for name in (("hidden_size", "bias") if op == "gru_reset_before" else named)}
    if call.flag("bidirectional"):
        call.whole("a bidirectional stack begins at the sequence's end, too")
    operation = operation_of(op, parameters)
    if not isinstance(operation, Stack):
        raise TypeError(f"{op} is no recurrence")
    initial = _initial(call)
    name = call.builder.new_name(call.label or op)
    inputs = [flat]
    if call.builder.is_whole and any(part.constant is None for part in initial):
        inputs, initial = [flat, *initial], []
    states = _states(call, name, operation, flat.value, initial)
    weights = _weights(call, operation, flat.value, name)
    references = tuple(call.builder.materialised(part).reference for part in inputs)
    node = Node(name=name, op=op, inputs=references, parameters=parameters, weights=weights, states=states)
    call.builder.add(node, str(call.place))
    return _results(call, name, operation, flat.value, layout)


def _weights(call: Call, operation: Stack, value: Value, name: str) -> dict[str, str]:
    given = call.tensors("weights")
    names = operation.weights([value])
    return {key: call.builder.tensor(part, f"{name}.{key}") for key, part in zip(names, given, strict=True)}


def _initial(call: Call) -> list[Traced]:
    """h_0 and c_0; none where all are zeros."""
    given = call.get("initial")
    values = [part for part in given if isinstance(part, Traced)] if isinstance(given, list) else []
    if all(part.constant is not None and not bool(part.constant.any()) for part in values):
        return []
    if call.builder.is_whole:
        return [_layered(call, call.settled(part)) for part in values]
    return [part if part.end_of else _layered(call, part) for part in values]


def _layered(call: Call, given: Traced) -> Traced:
    """[layers, B, size] with both as features."""
    dynamic = [role for role in given.roles if role in DYNAMIC]
    if dynamic not in ([], [Role.BATCH]) or (dynamic and given.roles[-2] is not Role.BATCH):
        call.refuse("a stack's initial state is not [layers, batch, size]")
    return without_units(
        call, given, [a for a, role in enumerate(given.roles) if role is Role.UNIT and a != len(given.roles) - 2]
    )


def _states(call: Call, name: str, operation: Stack, value: Value, initial: list[Traced]) -> dict[str, str]:
    """The stack's states, with what they begin with; of a whole graph Infer gives and keeps what it ends with."""
    found: dict[str, str] = {}
    for index, (key, shape) in enumerate(operation.states([value]).items()):
        given = initial[index] if initial else None
        tensor, state_name = None, f"{name}.{key}"
        if given is not None and given.end_of == "h_0":
            state_name = call.translation.state_of(call, given, name, key)
        elif given is not None and given.end_of:
            call.whole("a stack begins with what another ends with")
        elif given is not None and given.constant is None:
            call.whole(_COMPUTED)
        elif given is not None and bool(given.constant.any()):  # type: ignore[union-attr]
            tensor = call.builder.tensor(given, f"{state_name}_0")
        call.translation.add_state(
            StateSpec(name=state_name, features=shape.features, layers=shape.layers, initial=tensor)
        )
        found[key] = state_name
    return found


def _results(call: Call, name: str, operation: Stack, value: Value, layout: StackLayout) -> list[Traced | None]:
    values = operation.infer([value])
    output = Traced(values[0], layout.roles, name)
    ends: list[Traced | None] = []
    unbatched = len(layout.roles) == 2
    roles = (Role.FEATURE, Role.FEATURE) if unbatched else (Role.FEATURE, _batch_role(layout), Role.FEATURE)
    for result, end in zip(("h_n", "c_n"), values[1:], strict=False):
        if call.builder.is_whole:
            ends.append(Traced(end, roles, f"{name}:{result}"))
        else:
            ends.append(Traced(end, roles, name, end_of=result))
    call.translation.stack_outputs[name] = output
    return [output, *ends, *[None] * (2 - len(ends))]


def _batch_role(layout: StackLayout) -> Role:
    return Role.BATCH if Role.BATCH in layout.roles else Role.UNIT


@handles("gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def cell(call: Call) -> Traced:
    """(x, h) to h."""
    return _cell(call, [call.tensor("hx")])[0]


@handles("lstm_cell")
def lstm_cell(call: Call) -> list[Traced]:
    """(x, h, c) to h and c."""
    return list(_cell(call, call.tensors("hx")))


def _cell(call: Call, states: list[Traced]) -> tuple[Traced, ...]:
    given = as_floats(call, call.tensor("input"))
    names = dict(zip(("w_ih", "w_hh", "b_ih", "b_hh"), _CELL_WEIGHTS, strict=True))
    weights = call.weights(**names)
    roles = given.roles if given.value.has_batch else states[0].roles
    parameters = {"hidden_size": weights["weight_hh"].features[1], "bias": "bias_ih" in weights}
    operands = [_row(call, part) for part in (given, *states)]
    return call.emit_all(call.name, operands, roles, parameters, weights, call.label)


_CELL_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _row(call: Call, given: Traced) -> Traced:
    """[B, size], its axis of 1 for the batch gone where the module takes one row at a time."""
    given = without_units(call, given, [len(given.roles) - 1])
    if len(given.features) == 1:
        return given
    return reshaped(call, given, (given.features[-1],), given.roles)
