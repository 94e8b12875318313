"""Several tensors as torch broadcasts them, their axes of batch and time kept apart from features."""

from collections.abc import Sequence
from dataclasses import replace

from elman_models.export.call import Call
from elman_models.export.traced import DYNAMIC, Role, Traced


def aligned(call: Call, given: Sequence[Traced]) -> tuple[list[Traced], tuple[Role, ...]]:
    """The tensors with features that broadcast as the graph's do, and the result's roles.

    Raises:
        ExportError: an axis of the batch or of time meets another that is not 1.
    """
    rank = max(len(value.roles) for value in given)
    columns = [_column(call, given, axis - rank) for axis in range(rank)]
    roles = tuple(columns)
    return [_fitted(call, value, roles) for value in given], roles


def _column(call: Call, given: Sequence[Traced], axis: int) -> Role:
    """What the result's axis is; `axis` counts from the end."""
    there = [value for value in given if len(value.roles) >= -axis]
    dynamic = {value.roles[axis] for value in there} & DYNAMIC
    if len(dynamic) > 1:
        call.refuse(f"{call.name}: an axis of {' meets one of '.join(sorted(dynamic))}", "transpose one of the two before")
    sizes = {value.size(axis % len(value.roles)) for value in there if value.roles[axis] not in DYNAMIC}
    if dynamic:
        if sizes - {1}:
            call.refuse(f"{call.name}: an axis of {next(iter(dynamic))} meets one of {max(sizes)} numbers")
        return dynamic.pop()
    is_feature = any(value.roles[axis] is Role.FEATURE for value in there)
    return Role.FEATURE if is_feature else Role.UNIT


def _fitted(call: Call, value: Traced, roles: Sequence[Role]) -> Traced:
    """With the features that stand where the result's do; axes of 1 before all of them may be missing."""
    missing = len(roles) - len(value.roles)
    wanted = []
    for axis, role in enumerate(roles):
        if role is Role.FEATURE:
            wanted.append(1 if axis < missing else value.size(axis - missing))
    while len(wanted) > len(value.features) and wanted[0] == 1:
        wanted = wanted[1:]
    return reshaped(call, value, tuple(wanted), value.roles)


def reshaped(call: Call, value: Traced, features: tuple[int, ...], roles: Sequence[Role]) -> Traced:
    """Other features of as many numbers; the roles are taken as given."""
    if value.features == features:
        return replace(value, roles=tuple(roles))
    return call.emit("reshape", [value], tuple(roles), {"features": features})


def without_units(call: Call, value: Traced, axes: Sequence[int]) -> Traced:
    """Those axes, where they are UNIT, as features of size 1."""
    roles = list(value.roles)
    for axis in axes:
        if roles[axis] is Role.UNIT:
            roles[axis] = Role.FEATURE
    if tuple(roles) == value.roles:
        return value
    features, taken = [], iter(value.features)
    for old, new in zip(value.roles, roles, strict=True):
        if new is Role.FEATURE:
            features.append(next(taken) if old is Role.FEATURE else 1)
    return reshaped(call, value, tuple(features), roles)
