"""Convolutions over time: back alone with a state, or ahead, too, in a whole graph."""

from dataclasses import dataclass, replace

import torch

from elman_models.export.broadcasting import reshaped, without_units
from elman_models.export.call import Call
from elman_models.export.handlers.identities import as_floats
from elman_models.export.traced import Role, Traced, constant
from elman_models.graph.operations import operation_of
from elman_models.graph.spec import Node, StateSpec
from elman_models.graph.value import Per

MAX_DENSE = 1 << 22
"""Numbers of the matrix that a convolution over time and features becomes."""


@dataclass(frozen=True)
class Window:
    """What a convolution looks at, by axis."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int


def over_steps(call: Call, given: Traced, window: Window) -> Traced:
    """[B, channels, T]."""
    weights = call.weights(weight="weight", bias="bias")
    given = without_units(call, given, [1]) if not given.before else given
    return _convolved(call, given, window, 0, weights)


def _convolved(call: Call, given: Traced, window: Window, index: int, weights: dict[str, Traced]) -> Traced:
    kernel, dilation = window.kernel_size[index], window.dilation[index]
    before, after = given.before + window.padding[index][0], given.after + window.padding[index][1]
    span = (kernel - 1) * dilation
    if window.stride[index] != 1 or (before != span and before + after != span):
        call.refuse(
            f"{call.name} over time that gives another number of steps than it is given",
            f"stride 1, and {span} steps of zeros before the first (torch.nn.functional.pad): it looks back alone",
        )
    bare = as_floats(call, replace(given, before=0, after=0))
    if bare.value.per is not Per.STEP:
        call.refuse(f"{call.name} over time of what is the same at every step")
    parameters = {
        "out_channels": weights["weight"].features[0],
        "kernel_size": kernel,
        "dilation": dilation,
        "groups": window.groups,
    }
    if before != span:
        call.whole(f"{call.name} looks ahead: it has {before} of its {span} steps of padding on the left")
    if call.builder.is_whole:
        ahead = span - before if before < span else 0
        parameters |= {"before": span - ahead, "after": ahead}
        result = call.emit("time_conv1d", [bare], given.roles, parameters, weights, call.label)
    else:
        result = _causal(call, bare, parameters, weights)
    return replace(result, surplus=after if before == span else 0)


def _causal(call: Call, given: Traced, parameters: dict[str, int], weights: dict[str, Traced]) -> Traced:
    if given.last_only:
        call.whole("a convolution over the last step's value")
    operation = operation_of("causal_conv1d", parameters)
    try:
        values = operation.infer([given.value])
    except ValueError as error:
        call.refuse(f"{call.name}: {error}")
    name = call.builder.new_name(call.label or "causal_conv1d")
    states = {key: f"{name}.{key}" for key in operation.states([given.value])}
    for key, shape in operation.states([given.value]).items():
        call.translation.add_state(StateSpec(name=states[key], features=shape.features))
    tensors = {key: call.builder.tensor(part, f"{name}.{key}") for key, part in weights.items()}
    reference = call.builder.materialised(given).reference
    node = Node(
        name=name, op="causal_conv1d", inputs=(reference,), parameters=dict(parameters), weights=tensors, states=states
    )
    call.builder.add(node, str(call.place))
    return Traced(values[0], given.roles, name)


def over_steps_and_features(call: Call, given: Traced, window: Window, timed: int) -> Traced:
    """[B, channels, T, places] or [B, channels, places, T]: one over time, whose channels are those of all places."""
    weight, bias = call.weight("weight"), call.optional("bias")
    pending, given = (given.before, given.after), replace(given, before=0, after=0)
    given = without_units(call, given, [1, 2, 3])
    channels, places = given.features
    dense = _dense(weight, window, timed, places, channels)
    if dense.numel() > MAX_DENSE:
        call.refuse(f"{call.name} over time and {places} places, which is too large a matrix for one over time")
    number = dense.shape[0] // weight.features[0]
    weights = {"weight": constant(dense)}
    if bias is not None and bias.constant is not None:
        weights["bias"] = constant(bias.constant.repeat_interleave(number))
    flat = reshaped(call, given, (channels * places,), (Role.BATCH, Role.FEATURE, Role.TIME))
    flat = replace(flat, before=pending[0], after=pending[1])
    result = _convolved(call, flat, replace(window, groups=1), timed, weights)
    bare = replace(result, surplus=0)
    return replace(reshaped(call, bare, (weight.features[0], number), given.roles), surplus=result.surplus)


def _dense(weight: Traced, window: Window, timed: int, places: int, channels: int) -> torch.Tensor:
    """[out_channels x places out, channels x places, steps]: what comes of a one at every place, step by step."""
    kernel = weight.constant
    if kernel is None:
        raise TypeError("a weight is a constant")
    if timed == 1:
        kernel = kernel.transpose(2, 3)
    other = 1 - timed
    ones = torch.eye(channels * places).view(channels * places, channels, 1, places)
    ones = torch.constant_pad_nd(ones, window.padding[other])
    strides, dilations = (1, window.stride[other]), (1, window.dilation[other])
    taps = [
        torch.conv2d(ones, kernel[:, :, step : step + 1], None, strides, 0, dilations, window.groups).flatten(1).t()
        for step in range(kernel.shape[2])
    ]
    return torch.stack(taps, -1).contiguous()
