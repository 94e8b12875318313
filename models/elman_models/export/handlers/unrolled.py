"""A stack as its cells: over an axis of features, as a tagger's of letters is, or one step whose module
does more with the state than the stack does."""

from collections.abc import Sequence

import torch

from elman_models.export.broadcasting import reshaped, without_units
from elman_models.export.call import Call
from elman_models.export.reset_before import ResetBeforeGRU
from elman_models.export.traced import DYNAMIC, Role, Traced, constant

MAX_CELLS = 512
"""Nodes that a stack may become."""
_KEYS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

States = tuple[Traced, ...]  # h, and c of an LSTM; each [size] per row or step


def unrolled(call: Call, given: Traced) -> list[Traced | None]:
    """Output, h_n and c_n of a stack whose steps are features, or one."""
    if call.get("mode") == ResetBeforeGRU.mode:
        call.refuse("a GRU with the reset gate before the product, other than along the axis of time")
    axis = 1 if call.flag("batch_first") else 0
    rows = given.roles[1 - axis]
    if given.roles[axis] in DYNAMIC or rows not in DYNAMIC:
        call.refuse(f"a stack along the axis of {given.roles[axis]}, with that of {rows} as its batch")
    steps, layers = given.size(axis), call.integer("num_layers")
    directions = 2 if call.flag("bidirectional") else 1
    if steps * layers * directions > MAX_CELLS or call.integer("proj_size"):
        call.refuse(f"a stack of {layers} layers over {steps} features: as cells it is too much, or has a projection")
    given = without_units(call, given, [axis])
    at, rest = given.feature_index(axis), (rows, Role.FEATURE)
    inputs = [call.emit("select", [given], rest, {"axis": at, "index": step}) for step in range(steps)]
    initial, ends = _initial(call, layers * directions, rest), []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            number = layer * directions + direction
            weights = _weights(call, number)
            order = inputs if direction == 0 else inputs[::-1]
            steps_out, end = _along(call, order, initial[number], weights, rest)
            outputs.append(steps_out if direction == 0 else steps_out[::-1])
            ends.append(end)
        inputs = outputs[0] if directions == 1 else [_beside(call, pair) for pair in zip(*outputs, strict=True)]
    output = _piled(call, inputs, axis, rows)
    return [output, *[_piled(call, [end[i] for end in ends], 0, rows) for i in range(len(ends[0]))], None][:3]


def _weights(call: Call, number: int) -> dict[str, Traced]:
    each = 4 if call.flag("bias") else 2
    given = call.tensors("weights")[number * each : (number + 1) * each]
    return dict(zip(_KEYS, given, strict=False))


def _initial(call: Call, number: int, roles: tuple[Role, ...]) -> list[States]:
    given = call.get("initial")
    values = [call.settled(part) for part in given if isinstance(part, Traced)] if isinstance(given, list) else []
    if not values:
        zeros = constant(torch.zeros(call.integer("hidden_size")))
        return [(zeros,) * (2 if call.get("mode") == "LSTM" else 1)] * number
    layered = [without_units(call, value, [0]) for value in values]
    return [
        tuple(call.emit("select", [value], roles, {"axis": 0, "index": index}) for value in layered)
        for index in range(number)
    ]


def _along(
    call: Call, inputs: Sequence[Traced], state: States, weights: dict[str, Traced], roles: tuple[Role, ...]
) -> tuple[list[Traced], States]:
    op = f"{str(call.get('mode')).lower()}_cell"
    parameters = {"hidden_size": call.integer("hidden_size"), "bias": call.flag("bias")}
    outputs = []
    for step in inputs:
        state = call.emit_all(op, [step, *state], roles, parameters, weights, call.label)
        outputs.append(state[0])
    return outputs, state


def _beside(call: Call, pair: Sequence[Traced]) -> Traced:
    return call.emit("concat", list(pair), pair[0].roles, {"axis": 0})


def _piled(call: Call, given: Sequence[Traced], axis: int, rows: Role) -> Traced:
    """Along a new axis of features, which is first of them."""
    roles = (Role.FEATURE, rows, Role.FEATURE) if axis == 0 else (rows, Role.FEATURE, Role.FEATURE)
    if len(given) == 1:
        return reshaped(call, given[0], (1, *given[0].features), roles)
    return call.emit("stack", list(given), roles, {"axis": 0})
