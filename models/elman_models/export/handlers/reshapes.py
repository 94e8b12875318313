"""Axes in another order, joined, divided, added and taken away."""

from collections.abc import Sequence
from dataclasses import replace

from elman_models.export.broadcasting import reshaped, without_units
from elman_models.export.call import Call
from elman_models.export.handlers.registry import handles
from elman_models.export.regrouping import regrouped
from elman_models.export.sizes import Size, size_of
from elman_models.export.traced import DYNAMIC, Role, Traced
from elman_models.graph.value import Per


@handles("view", "reshape", "_unsafe_view", "flatten", "unflatten", "view_as", "reshape_as")
def reshape(call: Call) -> Traced:
    """Between [B, T, ...], [T, B, ...] and [B*T, ...], and features among themselves."""
    given = call.tensor("self")
    found = regrouped(given, call.shape, call.sequences)
    if found is None:
        _refuse_heads(call)
        call.refuse(
            f"{call.name} of {axes_in_words(given)} to {[str(size) for size in call.shape]}: it brings numbers of one "
            "row or step to another's, or mixes them with features",
            "transpose the axes of batch and time instead of viewing one as the other",
        )
    roles, features = found
    return reshaped(call, given, features, roles)


def _refuse_heads(call: Call) -> None:
    """`torch.nn.MultiheadAttention`, where it was not kept whole, has parts of a row's features as rows."""
    batch = call.sequences.batch
    for size in call.shape:
        if batch is not None and not isinstance(size, int) and size != batch and (size / batch).is_Integer:
            call.refuse(
                f"{call.name} to {[str(size) for size in call.shape]}: parts of a row's features become rows, as "
                "torch.nn.MultiheadAttention has its heads",
                "give the module, elman_models.pack(module, ...), which keeps that whole; or have heads as an axis of "
                "their own, transposed, and torch.nn.functional.scaled_dot_product_attention",
            )


def axes_in_words(given: Traced) -> str:
    """[batch, time, 5]."""
    sizes = iter(given.features)
    words = [str(next(sizes)) if r is Role.FEATURE else "1" if r is Role.UNIT else str(r) for r in given.roles]
    return f"[{', '.join(words)}]"


@handles("unsqueeze")
def unsqueeze(call: Call) -> Traced:
    """An axis of 1."""
    given = call.tensor("self")
    axis = call.integer("dim") % (len(given.roles) + 1)
    return given.with_roles(*given.roles[:axis], Role.UNIT, *given.roles[axis:])


@handles("squeeze")
def squeeze(call: Call) -> Traced:
    """Without axes of 1."""
    given = call.tensor("self")
    rank = len(given.roles)
    asked = call.integers("dim") if "dim" in call.arguments else range(rank)
    gone = [axis % rank for axis in asked if given.roles[axis] not in DYNAMIC and given.size(axis % rank) == 1]
    return without_axes(call, given, gone)


def without_axes(call: Call, given: Traced, gone: Sequence[int]) -> Traced:
    """Without axes that are UNIT, or features of size 1."""
    kept = [axis for axis in range(len(given.roles)) if axis not in gone]
    features = tuple(given.size(axis) for axis in kept if given.roles[axis] is Role.FEATURE)
    return reshaped(call, given, features, [given.roles[axis] for axis in kept])


@handles("permute", "transpose", "t", "swapaxes", "swapdims", "numpy_T", "movedim", "mT")
def permute(call: Call) -> Traced:
    """Axes in another order; steps that are to be added or taken away may be there."""
    given = call.raw("self")
    if given.end_of:
        given = call.settled(given)
    return reordered(call, given, _order(call, len(given.roles)))


def reordered(call: Call, given: Traced, order: Sequence[int]) -> Traced:
    """The axes in that order."""
    roles = tuple(given.roles[axis] for axis in order)
    features = [given.feature_index(axis) for axis in order if given.roles[axis] is Role.FEATURE]
    if features == sorted(features):
        return given.with_roles(*roles)
    bare = replace(given, before=0, after=0, surplus=0)
    permuted = call.emit("permute", [bare], roles, {"axes": tuple(features)})
    return replace(permuted, before=given.before, after=given.after, surplus=given.surplus)


def _order(call: Call, rank: int) -> list[int]:
    if call.name == "permute":
        return [axis % rank for axis in call.integers("dims")]
    order = list(range(rank))
    if call.name == "movedim":
        sources = [axis % rank for axis in call.integers("source")]
        targets = [axis % rank for axis in call.integers("destination")]
        order = [axis for axis in order if axis not in sources]
        for target, source in sorted(zip(targets, sources, strict=True)):
            order.insert(target, source)
        return order
    pairs = {"t": (0, 1), "numpy_T": (0, rank - 1), "mT": (rank - 2, rank - 1)}
    names = [name for name in call.arguments if name != "self"]
    first, second = pairs[call.name] if call.name in pairs else (call.integer(name) % rank for name in names)
    if rank > 1:
        order[first], order[second] = order[second], order[first]
    return order


@handles("expand", "expand_as", "broadcast_to")
def expand(call: Call) -> Traced:
    """Axes of 1 repeated: along batch and time nothing has to be done."""
    return _expanded(call, call.tensor("self"), call.shape)


@handles("broadcast_tensors")
def broadcast_tensors(call: Call) -> list[Traced]:
    """Each expanded to what all of them are together, as torch.distributions has its parameters."""
    shapes = [tuple(map(size_of, result.shape)) for result in call.node.meta["val"]]
    return [_expanded(call, given, shape) for given, shape in zip(call.tensors("tensors"), shapes, strict=True)]


def _expanded(call: Call, given: Traced, shape: Sequence[Size]) -> Traced:
    missing = len(shape) - len(given.roles)
    roles: list[Role] = [Role.UNIT] * missing + list(given.roles)
    given = replace(given, roles=tuple(roles))
    wide = [axis for axis, r in enumerate(roles) if r not in DYNAMIC and given.size(axis) == 1 and shape[axis] != 1]
    opened = [axis for axis in wide if call.role_of(shape[axis]) is not Role.FEATURE]
    narrow = without_axes(call, given, []) if not opened else _opened(call, given, opened, shape)
    widened = without_units(call, narrow, [axis for axis in wide if axis not in opened])
    sizes = [shape[axis] for axis, role in enumerate(widened.roles) if role is Role.FEATURE]
    if tuple(sizes) == widened.features:
        return widened
    return call.emit("expand", [widened], widened.roles, {"features": tuple(int(size) for size in sizes)})


def _opened(call: Call, given: Traced, opened: Sequence[int], shape: Sequence[Size]) -> Traced:
    """Axes of 1 as ones of batch or time, along which all is the same."""
    roles = list(given.roles)
    features = tuple(given.size(axis) for axis, r in enumerate(roles) if r is Role.FEATURE and axis not in opened)
    for axis in opened:
        roles[axis] = call.role_of(shape[axis])
    if Role.TIME in {roles[axis] for axis in opened}:
        given = for_every_step(call, given)
    return reshaped(call, given, features, roles)


def for_every_step(call: Call, given: Traced) -> Traced:
    """What there is one of for a row, as every step may have it."""
    if given.last_only and given.value.per is Per.STEP:
        call.whole("the last step's value is given to every step")
    return given


@handles("repeat", "tile")
def repeat(call: Call) -> Traced:
    """Axes of 1 repeated; features after themselves."""
    given = call.tensor("self")
    shape = call.shape
    roles = [Role.UNIT] * (len(shape) - len(given.roles)) + list(given.roles)
    given = replace(given, roles=tuple(roles))
    for axis, role in enumerate(roles):
        if role in DYNAMIC or given.size(axis) == 1:
            continue
        if given.size(axis) != shape[axis]:
            return _repeated(call, given, axis)
    return _expanded(call, given, shape)


def _repeated(call: Call, given: Traced, axis: int) -> Traced:
    size = call.shape[axis]
    others = [a for a in range(len(given.roles)) if a != axis and given.roles[a] not in DYNAMIC]
    if not isinstance(size, int) or any(given.size(a) != call.shape[a] for a in others):
        call.refuse(
            f"{call.name} of features along the batch, time or several axes", "torch.cat, or expand of an axis of 1"
        )
    copies = [given] * (size // given.size(axis))
    return call.emit("concat", copies, given.roles, {"axis": given.feature_index(axis)})
