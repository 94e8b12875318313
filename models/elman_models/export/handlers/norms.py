"""Normalisations, as in evaluation."""

from elman_models.export.broadcasting import without_units
from elman_models.export.call import Call
from elman_models.export.handlers.identities import as_floats
from elman_models.export.handlers.registry import handles
from elman_models.export.traced import DYNAMIC, Role, Traced


@handles("layer_norm", "rms_norm")
def over_last(call: Call) -> Traced:
    """Over the last axes."""
    given = as_floats(call, call.tensor("input"))
    shape = tuple(call.integers("normalized_shape"))
    last = range(len(given.roles) - len(shape), len(given.roles))
    given = without_units(call, given, list(last))
    over = {given.roles[axis] for axis in last} - {Role.FEATURE}
    if over:
        call.refuse(f"{call.name} over the axis of {over.pop()}", f"{call.name} over the last axis, that of features")
    parameters = {"normalized_shape": shape} | ({"eps": call.number("eps")} if call.has("eps") else {})
    weights = call.weights(weight="weight", bias="bias") if call.name == "layer_norm" else call.weights(weight="weight")
    return call.emit(call.name, [given], given.roles, parameters, weights, call.label)


def _channels(call: Call, given: Traced) -> Traced:
    """With the second axis the first of the features."""
    given = without_units(call, as_floats(call, given), [1])
    role = given.roles[1]
    if role is not Role.FEATURE or given.feature_index(1):
        call.refuse(
            f"{call.name} whose channels are the axis of {role}",
            "transpose, so that the second axis is that of features, as [batch, features, time]",
        )
    return given


@handles("batch_norm")
def batch_norm(call: Call) -> Traced:
    """By what was learned; steps that are still to be taken away may not be there."""
    if call.flag("training") or not call.has("running_mean"):
        call.refuse(
            "batch norm by the batch's own mean: rows of one batch see each other",
            "BatchNorm with track_running_stats, in evaluation mode",
        )
    given = _channels(call, call.tensor("input"))
    names = {name: name for name in ("running_mean", "running_var", "weight", "bias")}
    weights = call.weights(**names)
    return call.emit("batch_norm", [given], given.roles, {"eps": call.number("eps")}, weights, call.label)


@handles("group_norm", "instance_norm")
def group_norm(call: Call) -> Traced:
    """Over groups of channels of one step."""
    given = _channels(call, call.tensor("input"))
    over = {role for role in given.roles[2:] if role in DYNAMIC}
    if over or call.name == "instance_norm":
        call.refuse(
            f"{call.name} over the axis of {(over or {Role.TIME}).pop()}: every step sees the others",
            "LayerNorm over features, which is of each step alone",
        )
    parameters = {"num_groups": call.integer("num_groups"), "eps": call.number("eps")}
    return call.emit(
        "group_norm", [given], given.roles, parameters, call.weights(weight="weight", bias="bias"), call.label
    )
