"""Over axes: sums, means, the greatest, softmax, the best k."""

from elman_models.export.broadcasting import without_units
from elman_models.export.call import Call
from elman_models.export.handlers.elementwise import binary
from elman_models.export.handlers.identities import as_floats
from elman_models.export.handlers.registry import handles
from elman_models.export.handlers.reshapes import without_axes
from elman_models.export.traced import DYNAMIC, Role, Traced
from elman_models.graph.spec import Parameter
from elman_models.graph.value import Per

_OVER_TIME = {"sum": "time_sum", "mean": "time_mean", "amax": "time_amax"}


@handles("sum", "mean", "amax", "amin", "logsumexp")
def reduction(call: Call) -> Traced:
    """Over axes of features; over time in a whole graph."""
    return reduced(
        call,
        call.name,
        call.tensor("self"),
        _axes(call),
        call.flag("keepdim") if "keepdim" in call.arguments else False,
    )


def _axes(call: Call) -> list[int]:
    rank = len(call.raw("self").roles)
    if "dim" not in call.arguments or call.get("dim") in (None, []):
        return list(range(rank))
    return sorted(axis % rank for axis in call.integers("dim"))


def reduced(call: Call, op: str, given: Traced, axes: list[int], keepdim: bool) -> Traced:
    """`op` over those axes."""
    given = as_floats(call, given)
    for axis in reversed([axis for axis in axes if given.roles[axis] in DYNAMIC]):
        if given.roles[axis] is not Role.TIME:
            call.refuse(
                f"{op} over the axis of {given.roles[axis]}: rows of one batch see each other",
                "reduce over features alone; the caller sums over rows",
            )
        given = over_time(call, _OVER_TIME.get(op, ""), given, axis, keepdim=True)
    over = [axis for axis in axes if given.roles[axis] is Role.FEATURE]
    if over:
        roles = tuple(Role.UNIT if axis in over else role for axis, role in enumerate(given.roles))
        parameters: dict[str, Parameter] = {"axes": tuple(given.feature_index(axis) for axis in over), "keepdim": False}
        given = call.emit(op, [given], roles, parameters)
    return given if keepdim else without_axes(call, given, axes)


def over_time(call: Call, op: str, given: Traced, axis: int, *, keepdim: bool) -> Traced:
    """`op` over all steps of a row."""
    if not op:
        call.refuse(f"{call.name} over time")
    if given.value.per is not Per.STEP:
        if op != "time_amax" and op != "time_mean":
            call.refuse(f"{call.name} over time of what is the same at every step")
        op = ""
    else:
        call.whole(f"{call.name} over all steps of the sequence")
    roles = list(given.roles)
    roles[axis] = Role.UNIT
    result = call.emit(op, [given], tuple(roles)) if op else given.with_roles(*roles)
    return result if keepdim else without_axes(call, result, [axis])


@handles("max", "min")
def greatest(call: Call) -> object:
    """Over an axis, with where it stands; or of two tensors."""
    if call.has("other"):
        return binary(call, "maximum" if call.name == "max" else "minimum", call.tensor("self"), call.tensor("other"))
    if "dim" not in call.arguments:
        call.refuse(f"{call.name} over everything: rows of one batch see each other", "say the axis")
    given, keepdim = call.tensor("self"), call.flag("keepdim")
    axis = call.axis(given)
    values = reduced(call, "amax" if call.name == "max" else "amin", given, [axis], keepdim)
    if given.roles[axis] is not Role.FEATURE:
        return [values, None]
    return [values, _where(call, "argmax" if call.name == "max" else "argmin", given, axis, keepdim)]


def _where(call: Call, op: str, given: Traced, axis: int, keepdim: bool) -> Traced:
    given = as_floats(call, without_units(call, given, [axis]))
    if given.roles[axis] is not Role.FEATURE:
        call.refuse(f"{op} over the axis of {given.roles[axis]}")
    roles = tuple(Role.UNIT if a == axis else role for a, role in enumerate(given.roles))
    result = call.emit(op, [given], roles, {"axis": given.feature_index(axis), "keepdim": False})
    return result if keepdim else without_axes(call, result, [axis])


@handles("argmax", "argmin")
def argument(call: Call) -> Traced:
    """Where the greatest of an axis stands."""
    given = call.tensor("self")
    if not call.has("dim"):
        call.refuse(f"{call.name} over everything: rows of one batch see each other", "say the axis")
    return _where(call, call.name, given, call.axis(given), call.flag("keepdim"))


@handles("softmax", "log_softmax", "_softmax", "_log_softmax", "cumsum")
def along(call: Call) -> Traced:
    """Along an axis, which stays."""
    given = as_floats(call, call.tensor("self"))
    axis, op = call.axis(given), call.name.lstrip("_")
    role = given.roles[axis]
    if role is Role.TIME and op != "log_softmax" and given.value.per is Per.STEP:
        call.whole(f"{op} over all steps of the sequence")
        return call.emit(f"time_{op}", [given], given.roles)
    if role in DYNAMIC:
        what = "rows of one batch see each other" if role is Role.BATCH else "every step sees the others"
        call.refuse(f"{op} along the axis of {role}: {what}", "dim=-1, if it is that of features that was meant")
    given = without_units(call, given, [axis])
    return call.emit(op, [given], given.roles, {"axis": given.feature_index(axis)})


@handles("topk")
def top_k(call: Call) -> list[Traced]:
    """The greatest of an axis, and where they stand."""
    given = as_floats(call, call.tensor("self"))
    axis = call.axis(given)
    if given.roles[axis] is not Role.FEATURE or not (call.flag("largest") and call.flag("sorted")):
        call.refuse("topk of another axis than features, or of the least", "topk(k, dim=-1)")
    parameters = {"k": call.integer("k"), "axis": given.feature_index(axis)}
    return list(call.emit_all("top_k", [given], given.roles, parameters))


@handles("glu")
def glu(call: Call) -> Traced:
    """The first half of an axis times the sigmoid of the second."""
    given = call.raw("self")
    axis = call.axis(given)
    if given.roles[axis] is not Role.FEATURE:
        call.refuse(f"glu along the axis of {given.roles[axis]}")
    given = call.settled(given)
    return call.emit("glu", [given], given.roles, {"axis": given.feature_index(axis)})


@handles("var", "std")
def variance(call: Call) -> Traced:
    """Over features: of the squares of what differs from the mean."""
    given = as_floats(call, call.tensor("self"))
    axes = _axes(call)
    if any(given.roles[axis] in DYNAMIC for axis in axes):
        call.refuse(f"{call.name} over the axis of {' or '.join(given.roles[axis] for axis in axes)}")
    number = 1
    for axis in axes:
        number *= given.size(axis)
    correction = (
        call.number("correction") if call.has("correction") else float(call.arguments.get("unbiased") is not False)
    )
    keepdim = call.flag("keepdim") if "keepdim" in call.arguments else False
    centred = binary(call, "sub", given, reduced(call, "mean", given, axes, keepdim=True))
    squares = call.emit("square", [centred], centred.roles)
    total = reduced(call, "sum", squares, axes, keepdim)
    result = binary(call, "div", total, call.raw_number(max(number - correction, 1e-30)))
    return call.emit("sqrt", [result], result.roles) if call.name == "std" else result


@handles("linalg_vector_norm", "norm")
def vector_norm(call: Call) -> Traced:
    """The length of a vector of features."""
    order = call.number("ord" if "ord" in call.arguments else "p")
    if order != 2:
        call.refuse(f"a norm of order {order}", "the order 2")
    given = as_floats(call, call.tensor("self"))
    squares = call.emit("square", [given], given.roles)
    total = reduced(call, "sum", squares, _axes(call), call.flag("keepdim"))
    return call.emit("sqrt", [total], total.roles)
