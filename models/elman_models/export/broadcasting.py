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
    wanted = [_wanted(value, roles) for value in given]
    full = roles.count(Role.FEATURE)
    shortest = [
        _without_leading_ones(features, len(value.features)) for features, value in zip(wanted, given, strict=True)
    ]
    if max(map(len, shortest)) < full:  # one at least has all axes, or the result had too few
        shortest[0] = wanted[0]
    fitted = [reshaped(call, value, features, value.roles) for value, features in zip(given, shortest, strict=True)]
    return fitted, roles


def _column(call: Call, given: Sequence[Traced], axis: int) -> Role:
    """What the result's axis is; `axis` counts from the end."""
    there = [value for value in given if len(value.roles) >= -axis]
    dynamic = {value.roles[axis] for value in there} & DYNAMIC
    if len(dynamic) > 1:
        call.refuse(
            f"{call.name}: an axis of {' meets one of '.join(sorted(dynamic))}", "transpose one of the two before"
        )
    sizes = {value.size(axis % len(value.roles)) for value in there if value.roles[axis] not in DYNAMIC}
    if dynamic:
        if sizes - {1}:
            call.refuse(f"{call.name}: an axis of {next(iter(dynamic))} meets one of {max(sizes)} numbers")
        return dynamic.pop()
    is_feature = any(value.roles[axis] is Role.FEATURE for value in there)
    return Role.FEATURE if is_feature else Role.UNIT


def _wanted(value: Traced, roles: Sequence[Role]) -> tuple[int, ...]:
    """The features that stand where the result's do."""
    missing = len(roles) - len(value.roles)
    features = [axis for axis, role in enumerate(roles) if role is Role.FEATURE]
    return tuple(1 if axis < missing else value.size(axis - missing) for axis in features)


def _without_leading_ones(features: tuple[int, ...], number: int) -> tuple[int, ...]:
    """Axes of 1 before all others may be missing, down to so many axes."""
    while len(features) > number and features[0] == 1:
        features = features[1:]
    return features


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
