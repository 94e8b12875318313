"""Convolutions and pooling: over features of each step, or over time."""

from elman_models.export.broadcasting import reshaped, without_units
from elman_models.export.call import Call
from elman_models.export.handlers.identities import as_floats
from elman_models.export.handlers.reductions import over_time, reduced
from elman_models.export.handlers.registry import handles
from elman_models.export.handlers.time_convolutions import Window, over_steps, over_steps_and_features
from elman_models.export.traced import DYNAMIC, Role, Traced
from elman_models.graph.spec import Parameter

_ANOTHER_LENGTH = "{} over time that gives another number of steps than it is given"


@handles("conv1d", "conv2d")
def convolution(call: Call) -> Traced:
    """Over time where one of its axes is that; else over features."""
    given, rank = call.raw("input"), int(call.name[-2])
    given = given if given.before or given.after else call.settled(given)
    window = _window(call, rank)
    axes = range(len(given.roles) - rank, len(given.roles))
    timed = [index for index, axis in enumerate(axes) if given.roles[axis] is Role.TIME]
    _check_axes(call, given, rank)
    if not timed:
        return _over_features(call, call.settled(given), window)
    if rank == 1:
        return over_steps(call, given, window)
    return over_steps_and_features(call, given, window, timed[0])


def _window(call: Call, rank: int) -> Window:
    weight = call.weight("weight")
    kernel = weight.features[2:]
    dilation = _sizes(call, "dilation", rank)
    padding = call.get("padding")
    if isinstance(padding, str):
        spans = [(k - 1) * d if padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
        pads = [(span // 2, span - span // 2) for span in spans]
    else:
        pads = [(p, p) for p in _sizes(call, "padding", rank)]
    return Window(kernel, _sizes(call, "stride", rank), tuple(pads), dilation, call.integer("groups"))


def _sizes(call: Call, name: str, rank: int) -> tuple[int, ...]:
    values = call.integers(name)
    return tuple(values * rank if len(values) == 1 else values)


def _check_axes(call: Call, given: Traced, rank: int) -> None:
    if len(given.roles) != rank + 2:
        call.refuse(f"{call.name} of a tensor of {len(given.roles)} axes", f"one of {rank + 2}, the batch first")
    channels, places = given.roles[1], [role for role in given.roles[2:] if role in DYNAMIC and role is not Role.TIME]
    if channels in DYNAMIC or places:
        wrong = channels if channels in DYNAMIC else places[0]
        call.refuse(
            f"{call.name} takes the axis of {wrong} for {'channels' if channels in DYNAMIC else 'places'}",
            "transpose to [batch, features, time] before it",
        )


def _over_features(call: Call, given: Traced, window: Window) -> Traced:
    given = without_units(call, as_floats(call, given), range(1, len(given.roles)))
    roles = given.roles
    rank = len(window.kernel_size)
    for index, (before, after) in enumerate(window.padding):
        if before != after:
            given = call.emit("pad", [given], roles, {"axis": index - rank, "before": 0, "after": after - before})
    weights = call.weights(weight="weight", bias="bias")
    parameters: dict[str, Parameter] = {
        "out_channels": weights["weight"].features[0],
        "kernel_size": window.kernel_size,
        "stride": window.stride,
        "padding": tuple(before for before, _ in window.padding),
        "dilation": window.dilation,
        "groups": window.groups,
    }
    return call.emit(call.name, [given], roles, parameters, weights, call.label)


@handles("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d")
def pool(call: Call) -> Traced:
    """Over features of each step; a window of one step is none."""
    given, rank = as_floats(call, call.tensor("self")), int(call.name[-2])
    kernel = _sizes(call, "kernel_size", rank)
    stride = _sizes(call, "stride", rank) if call.get("stride") else kernel
    padding = _sizes(call, "padding", rank)
    dilation = _sizes(call, "dilation", rank) if "dilation" in call.arguments else (1,) * rank
    if call.arguments.get("ceil_mode") or call.arguments.get("divisor_override"):
        call.refuse(f"{call.name} with ceil_mode or divisor_override")
    axes = list(range(len(given.roles) - rank, len(given.roles)))
    timed = [index for index, axis in enumerate(axes) if given.roles[axis] in DYNAMIC]
    for index in timed:
        if kernel[index] != 1 or stride[index] != 1 or padding[index]:
            call.refuse(
                _ANOTHER_LENGTH.format(call.name), "pool over features; or serve what follows at the lower rate"
            )
    kept = [index for index in range(rank) if index not in timed]
    if not kept:
        return given
    given = without_units(call, given, [axes[index] for index in kept])
    parameters = {
        "kernel_size": tuple(kernel[index] for index in kept),
        "stride": tuple(stride[index] for index in kept),
        "padding": tuple(padding[index] for index in kept),
    }
    if call.name.startswith("max"):
        parameters["dilation"] = tuple(dilation[index] for index in kept)
    given, features = _three(call, given, len(kept))
    result = call.emit(f"{call.name[:-2]}{len(kept)}d", [given], given.roles, parameters)
    return reshaped(call, result, (*features, *result.features[1:]), given.roles)


def _three(call: Call, given: Traced, places: int) -> tuple[Traced, tuple[int, ...]]:
    """[channels, places] of each step, and the features that channels were."""
    lead = given.features[:-places]
    channels = 1
    for size in lead:
        channels *= size
    return reshaped(call, given, (channels, *given.features[-places:]), given.roles), lead


@handles("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d")
def adaptive_pool(call: Call) -> object:
    """To one: the mean or the greatest of all; over time in a whole graph."""
    given = as_floats(call, call.tensor("self"))
    sizes = call.integers("output_size")
    op = "mean" if "avg" in call.name else "amax"
    for axis, size in zip(range(len(given.roles) - len(sizes), len(given.roles)), sizes, strict=True):
        if given.roles[axis] not in DYNAMIC and given.size(axis) == size:
            continue
        if size != 1:
            call.refuse(f"{call.name} to {size}", "to 1, or a pool with a kernel_size")
        if given.roles[axis] is Role.TIME:
            given = over_time(call, f"time_{op}", given, axis, keepdim=True)
        else:
            given = reduced(call, op, given, [axis], keepdim=True)
    return given if op == "mean" else [given, None]
