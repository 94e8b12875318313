"""Parts of a tensor: one of an axis, some of it, all of it in pieces."""

from collections.abc import Sequence
from dataclasses import replace

import sympy

from elman_models.export.broadcasting import without_units
from elman_models.export.call import Call, open_size
from elman_models.export.handlers.picking import LAST_STEP
from elman_models.export.handlers.registry import handles
from elman_models.export.handlers.reshapes import without_axes
from elman_models.export.traced import DYNAMIC, Role, Traced
from elman_models.graph.spec import Parameter
from elman_models.graph.value import Per

_FOREVER = 1 << 60


@handles("select")
def select(call: Call) -> Traced:
    """One of an axis; of time the last."""
    given = call.raw("self")
    axis, index = call.axis(given), call.integer("index")
    if given.end_of == "h_n" and axis == 0:
        top = call.translation.top_layer(given, index)
        if top is not None:
            return top
    given = call.settled(given)
    role = given.roles[axis]
    rest = (*given.roles[:axis], *given.roles[axis + 1 :])
    if role is Role.UNIT:
        return given.with_roles(*rest)
    if role is Role.FEATURE:
        return call.emit("select", [given], rest, {"axis": given.feature_index(axis), "index": index})
    if role is Role.TIME and index in (-1, 0):
        return one_step(call, given, rest, index)
    what = "one row of the batch" if role is Role.BATCH else f"step {index}" if role is Role.TIME else f"{index}"
    call.refuse(
        f"{what} is taken out of the axis of {role}",
        "give every step's output, of which a caller may take what it wants; x[:, -1] is the last step's",
    )


def one_step(call: Call, given: Traced, roles: Sequence[Role], index: int) -> Traced:
    """The last step of each row, or the first."""
    if given.value.per is not Per.STEP:  # it is the same at every step
        return given.with_roles(*roles)
    if index == -1 and not call.builder.is_whole:
        return replace(given, roles=tuple(roles), last_only=True)
    call.whole("the first step's value")
    return call.emit("last" if index == -1 else "first", [given], tuple(roles))


@handles("slice", "narrow")
def slice_(call: Call) -> Traced:
    """Some of an axis; of time all, the last, or what a padded convolution did not make."""
    given = call.raw("self")
    axis = call.axis(given)
    start, stop, stride = _range(call)
    role = given.roles[axis]
    if role in DYNAMIC and stride == 1 and start == 0 and _is_all(call, given, axis, stop):
        return replace(given, surplus=0) if role is Role.TIME and given.surplus else given
    given = call.settled(given)
    if role is Role.TIME and start == -1 and stride == 1 and stop == _FOREVER:
        return one_step(call, given, (*given.roles[:axis], Role.UNIT, *given.roles[axis + 1 :]), -1)
    if role in DYNAMIC:
        call.refuse(
            f"a part of the axis of {role} is taken ({call.name} from {start} to {_end(stop)})",
            "give every step's output; steps are compared with earlier ones by a recurrence or a causal convolution",
        )
    if not isinstance(start, int) or not isinstance(stop, int):
        what = "a part of the features that depends on the batch or the length"
        if given.constant is not None:  # a table of positions, cut to the length
            what += ": positions within a sequence, which begin anew with every chunk of it"
        call.refuse(f"{call.name}: {what}", "give the position as an input")
    given = without_units(call, given, [axis])
    size = given.size(axis)
    first, last, step = slice(start, stop, stride).indices(size)
    if (first, last, step) == (0, size, 1):
        return given
    index = given.feature_index(axis)
    return call.emit("slice", [given], given.roles, {"axis": index, "start": first, "stop": last, "step": step})


def _range(call: Call) -> tuple[object, object, int]:
    if call.name == "narrow":
        start, length = call.integer("start"), call.integer("length")
        return start, start + length, 1
    begin, end = call.get("start"), call.get("end")
    is_open = end is None or (isinstance(end, int) and end >= _FOREVER)
    return 0 if begin is None else begin, _FOREVER if is_open else end, call.integer("step")


def _end(stop: object) -> object:
    return "the end" if stop == _FOREVER else stop


def _is_all(call: Call, given: Traced, axis: int, stop: object) -> bool:
    """Whether all that is the sequence's is before `stop`."""
    surplus = given.surplus if given.roles[axis] is Role.TIME else 0
    if isinstance(stop, int):
        return stop == _FOREVER and not surplus if stop >= 0 else -stop == surplus
    size, open_stop = call.sequences.time, open_size(stop)
    if given.roles[axis] is Role.BATCH:
        size = call.sequences.batch
    return size is not None and isinstance(open_stop, sympy.Expr) and sympy.simplify(open_stop - size) == 0


@handles("split", "split_with_sizes", "chunk", "tensor_split", "unbind", "unsafe_chunk", "unsafe_split")
def split(call: Call) -> list[Traced]:
    """Pieces of an axis of features."""
    given = call.tensor("self")
    axis = call.axis(given)
    if given.roles[axis] in DYNAMIC:
        call.refuse(f"{call.name} along the axis of {given.roles[axis]}")
    results = call.node.meta["val"]
    if call.name == "unbind":
        rest = (*given.roles[:axis], *given.roles[axis + 1 :])
        if given.roles[axis] is Role.UNIT:
            return [given.with_roles(*rest)]
        index = given.feature_index(axis)
        return [call.emit("select", [given], rest, {"axis": index, "index": i}) for i in range(len(results))]
    given = without_units(call, given, [axis])
    sizes = tuple(int(result.shape[axis]) for result in results)
    parameters: dict[str, Parameter] = {"axis": given.feature_index(axis), "sizes": sizes}
    return list(call.emit_all("split", [given], given.roles, parameters))


@handles("flip")
def flip(call: Call) -> Traced:
    """An axis from its end; time in a whole graph."""
    given = call.tensor("self")
    for axis in call.integers("dims"):
        role = given.roles[axis]
        if role is Role.TIME and given.value.per is Per.STEP:
            call.whole("the sequence is read from its end")
            given = call.emit("time_flip", [given], given.roles)
        elif role is Role.FEATURE:
            index = given.feature_index(axis % len(given.roles))
            given = call.emit("flip", [given], given.roles, {"axis": index})
        elif role is Role.BATCH:
            call.refuse("flip of the batch: rows see each other")
    return given


@handles("index_select")
def index_select(call: Call) -> Traced:
    """Chosen features, by numbers that are known."""
    given, index = call.tensor("self"), call.weight("index")
    axis = call.axis(given)
    if given.roles[axis] is not Role.FEATURE or index.constant is None:
        call.refuse(f"index_select along the axis of {given.roles[axis]}")
    wanted = index.constant.tolist()
    return chosen_features(call, given, axis, wanted)


@handles("index")
def index(call: Call) -> Traced:
    """`x[..., [2, 0]]`: chosen features, by numbers that are known."""
    given, indices = call.tensor("self"), call.get("indices")
    if isinstance(indices, list):
        asked = [(axis, i) for axis, i in enumerate(indices) if i is not None]
        if len(asked) == 1 and isinstance(asked[0][1], Traced) and asked[0][1].constant is not None:
            axis, chosen = asked[0]
            if given.roles[axis] is Role.FEATURE and chosen.constant.dim() == 1:
                return chosen_features(call, given, axis, chosen.constant.tolist())
    call.refuse("x[...] by an index that is computed, or of the batch or time", LAST_STEP)


def chosen_features(call: Call, given: Traced, axis: int, wanted: list[int]) -> Traced:
    """Those of an axis, in that order."""
    at = given.feature_index(axis)
    pieces = [
        call.emit(
            "slice", [given], given.roles, {"axis": at, "start": i % given.size(axis), "stop": i % given.size(axis) + 1}
        )
        for i in wanted
    ]
    return without_axes(call, call.emit("concat", pieces, given.roles, {"axis": at}), [])
