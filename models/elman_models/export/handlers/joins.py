"""Several tensors as one, and numbers around one."""

from collections.abc import Sequence
from dataclasses import replace

from elman_models.export.broadcasting import without_units
from elman_models.export.call import Call
from elman_models.export.handlers.identities import promoted
from elman_models.export.handlers.registry import handles
from elman_models.export.traced import DYNAMIC, Role, Traced


@handles("cat", "concat", "concatenate")
def cat(call: Call) -> Traced:
    """Along an axis of features."""
    given = promoted(call, call.tensors("tensors"))
    axis = call.integer("dim") % len(given[0].roles)
    return joined(call, given, axis)


def joined(call: Call, given: Sequence[Traced], axis: int) -> Traced:
    """One after another along that axis."""
    along = {value.roles[axis] for value in given}
    if along & DYNAMIC:
        call.refuse(
            f"{call.name} along the axis of {' and '.join(sorted(along & DYNAMIC))}: steps or rows are added",
            "for zeros before the first step torch.nn.functional.pad and a convolution; else a state (pack_step)",
        )
    given = [without_units(call, value, [axis]) for value in given]
    roles = _common(call, given)
    given = [without_units(call, value, [a for a, r in enumerate(roles) if r is Role.FEATURE]) for value in given]
    if len(given) == 1:
        return given[0]
    return call.emit("concat", list(given), roles, {"axis": given[0].feature_index(axis)})


def _common(call: Call, given: Sequence[Traced]) -> tuple[Role, ...]:
    """The roles that all have, or can be read as."""
    roles = []
    for column in zip(*(value.roles for value in given), strict=True):
        kinds = set(column)
        dynamic = kinds & DYNAMIC
        if len(dynamic) > 1 or (dynamic and kinds != dynamic):
            call.refuse(f"{call.name}: an axis of {' meets one of '.join(sorted(kinds))}")
        roles.append(dynamic.pop() if dynamic else Role.FEATURE if Role.FEATURE in kinds else Role.UNIT)
    return tuple(roles)


def stacked(call: Call) -> Traced:
    """`torch.stack`: along a new axis."""
    given = promoted(call, call.tensors("tensors"))
    axis = call.integer("dim") % (len(given[0].roles) + 1)
    apart = [value.with_roles(*value.roles[:axis], Role.UNIT, *value.roles[axis:]) for value in given]
    return joined(call, apart, axis)


@handles("pad", "constant_pad_nd")
def pad(call: Call) -> Traced:
    """Numbers around features; zeros around a sequence, which a convolution is to take."""
    given = call.tensor("self")
    amounts = call.integers("pad")
    if call.name == "pad" and call.get("mode") != "constant":
        call.refuse(f"pad with mode {call.get('mode')}", 'mode "constant", with zeros on the left alone')
    value = call.number("value") if call.has("value") else 0.0
    for index in range(0, len(amounts), 2):
        axis = len(given.roles) - 1 - index // 2
        before, after = amounts[index : index + 2]
        if before or after:
            given = _padded(call, given, axis, before, after, value)
    return given


def _padded(call: Call, given: Traced, axis: int, before: int, after: int, value: float) -> Traced:
    role = given.roles[axis]
    if role is Role.TIME:
        if value:
            call.refuse(f"pad of time with {value}", "zeros before the first step")
        if before < 0 or after < 0:
            call.refuse("steps are taken away by a pad below zero", "x[:, :, :-n] right after the convolution")
        return replace(given, before=given.before + before, after=given.after + after)
    if role in DYNAMIC:
        call.refuse(f"pad along the axis of {role}")
    if before < 0 or after < 0:
        call.refuse("a pad below zero", "a slice")
    given = without_units(call, call.settled(given), [axis])
    parameters = {"axis": given.feature_index(axis), "before": before, "after": after, "value": value}
    return call.emit("pad", [given], given.roles, parameters)
