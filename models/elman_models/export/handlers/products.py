"""Products: linear, embedding, matmul."""

from elman_models.export.broadcasting import reshaped, without_units
from elman_models.export.call import Call
from elman_models.export.handlers.attention import scores
from elman_models.export.handlers.elementwise import binary
from elman_models.export.handlers.identities import as_floats
from elman_models.export.handlers.reductions import over_time
from elman_models.export.handlers.registry import handles
from elman_models.export.traced import DYNAMIC, Role, Traced, constant
from elman_models.graph.value import DType


@handles("linear")
def linear(call: Call) -> Traced:
    """Of the last axis."""
    return of_last(call, call.tensor("input"), call.weights(weight="weight", bias="bias"))


def of_last(call: Call, given: Traced, weights: dict[str, Traced]) -> Traced:
    """`linear` of the last axis, which must be features."""
    given = as_floats(call, without_units(call, given, [len(given.roles) - 1]))
    if given.roles[-1] is not Role.FEATURE:
        call.refuse(
            f"{call.name} over the axis of {given.roles[-1]}: it is made for one size of that",
            "transpose, so that the last axis is that of features",
        )
    parameters = {"out_features": weights["weight"].features[0]}
    return call.emit("linear", [given], given.roles, parameters, weights, call.label)


@handles("addmm")
def addmm(call: Call) -> Traced:
    """bias + input @ weight."""
    product = matrix_product(call, call.tensor("mat1"), call.tensor("mat2"))
    if not isinstance(product, Traced):
        call.refuse("addmm of attention's scores")
    return binary(call, "add", product, call.tensor("self"))


@handles("embedding")
def embedding(call: Call) -> Traced:
    """A vector for each id."""
    ids, weight = call.tensor("indices"), call.weight("weight")
    size, width = weight.features
    if ids.value.bound is None or ids.value.bound > size:
        if ids.dtype is not DType.INT64:
            call.refuse("embedding of what is no id")
        ids = call.emit("clamp", [ids], ids.roles, {"min": 0, "max": size - 1})
    parameters = {"num_embeddings": size, "embedding_dim": width}
    roles = (*ids.roles, Role.FEATURE)
    return call.emit("embedding", [ids], roles, parameters, {"weight": weight}, call.label)


@handles("matmul", "mm", "bmm", "mv", "dot", "__matmul__")
def matmul(call: Call) -> object:
    """Of the last two axes."""
    names = {"mm": "mat2", "bmm": "mat2", "mv": "vec", "dot": "tensor"}
    left, right = call.tensor("self"), call.tensor(names.get(call.name, "other"))
    return matrix_product(call, left, right)


def matrix_product(call: Call, left: Traced, right: Traced) -> object:
    """left @ right; over time in a whole graph alone."""
    left, right = as_floats(call, left), as_floats(call, right)
    if right.constant is not None and len(right.roles) == 2 and set(right.roles) == {Role.FEATURE}:
        tensor = right.constant.t().contiguous()
        return of_last(call, left, {"weight": constant(tensor)})
    if len(left.roles) == 1:
        product = _product(call, left.with_roles(Role.UNIT, *left.roles), right)
        return _without_axis(call, product, -2)
    if len(right.roles) == 1:
        product = _product(call, left, right.with_roles(*right.roles, Role.UNIT))
        return _without_axis(call, product, -1)
    return _product(call, left, right)


def _without_axis(call: Call, product: object, axis: int) -> object:
    if not isinstance(product, Traced):
        call.refuse(f"{call.name} of attention's scores and a vector")
    from elman_models.export.handlers.reshapes import without_axes

    return without_axes(call, product, [axis % len(product.roles)])


def _product(call: Call, left: Traced, right: Traced) -> object:
    inner = (left.roles[-1], right.roles[-2])
    if Role.TIME in inner:
        if set(inner) != {Role.TIME}:
            call.refuse(f"{call.name} of an axis of {inner[0]} and one of {inner[1]}")
        return _over_time(call, left, right)
    if set(inner) & DYNAMIC:
        call.refuse(f"{call.name} over the axis of {(set(inner) & DYNAMIC).pop()}: rows see each other")
    if left.roles[-2] in DYNAMIC and right.roles[-1] in DYNAMIC:
        return scores(call, left, right)
    return _over_features(call, left, right)


def _over_time(call: Call, left: Traced, right: Traced) -> Traced:
    """Weights of steps times what steps have, summed: what attention pools."""
    call.whole("a sum over all steps")
    wide_left = left.with_roles(*left.roles, Role.UNIT)  # [..., rows, T, 1]
    wide_right = right.with_roles(*right.roles[:-2], Role.UNIT, *right.roles[-2:])  # [..., 1, T, columns]
    product = binary(call, "mul", wide_left, wide_right)
    return over_time(call, "time_sum", product, len(product.roles) - 2, keepdim=False)


def _over_features(call: Call, left: Traced, right: Traced) -> Traced:
    left, right = without_units(call, left, [-1]), without_units(call, right, [-2])
    rows, columns = left.roles[-2], right.roles[-1]
    lead = max(len(left.roles), len(right.roles)) - 2
    lefts, rights = _lead(left, lead), _lead(right, lead)
    (lead_left, lead_right), lead_roles = _aligned_lead(call, lefts, rights)
    inner = left.size(len(left.roles) - 1)
    num_rows = 1 if rows is not Role.FEATURE else left.size(len(left.roles) - 2)
    num_columns = 1 if columns is not Role.FEATURE else right.size(len(right.roles) - 1)
    a = reshaped(call, left, (*lead_left, num_rows, inner), left.roles)
    b = reshaped(call, right, (*lead_right, inner, num_columns), right.roles)
    full = (*lead_roles, Role.FEATURE, Role.FEATURE)
    product = call.emit("matmul", [a, b], tuple(r for r in full if r is Role.FEATURE))
    roles = (*lead_roles, rows, columns)
    sizes = [*product.features[:-2]]
    sizes += [num_rows] if rows is Role.FEATURE else []
    sizes += [num_columns] if columns is Role.FEATURE else []
    return reshaped(call, product, tuple(sizes), roles)


def _lead(given: Traced, number: int) -> list[tuple[Role, int]]:
    """Role and size of the axes before the last two, so many."""
    roles = given.roles[:-2]
    sized = [(role, 1 if role in DYNAMIC else given.size(axis)) for axis, role in enumerate(roles)]
    return [(Role.UNIT, 1)] * (number - len(sized)) + sized


def _aligned_lead(
    call: Call, left: list[tuple[Role, int]], right: list[tuple[Role, int]]
) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], tuple[Role, ...]]:
    roles: list[Role] = []
    sizes: tuple[list[int], list[int]] = ([], [])
    for (role_left, size_left), (role_right, size_right) in zip(left, right, strict=True):
        dynamic = {role_left, role_right} & DYNAMIC
        if len(dynamic) > 1 or (dynamic and max(size_left, size_right) > 1):
            call.refuse(f"{call.name}: an axis of {role_left} meets one of {role_right}")
        if dynamic:
            roles.append(dynamic.pop())
        elif Role.FEATURE in (role_left, role_right):
            roles.append(Role.FEATURE)
            sizes[0].append(size_left)
            sizes[1].append(size_right)
        else:
            roles.append(Role.UNIT)
    return (tuple(sizes[0]), tuple(sizes[1])), tuple(roles)


@handles("baddbmm")
def baddbmm(call: Call) -> object:
    """self + batch1 @ batch2, where beta and alpha are 1."""
    product = matrix_product(call, call.tensor("batch1"), call.tensor("batch2"))
    if not isinstance(product, Traced) or call.number("beta") != 1 or call.number("alpha") != 1:
        call.refuse("baddbmm other than self + batch1 @ batch2")
    return binary(call, "add", product, call.tensor("self"))


@handles("one_hot")
def one_hot(call: Call) -> Traced:
    """Ids as vectors."""
    ids, classes = call.tensor("self"), call.integer("num_classes")
    if classes < 1:
        call.refuse("one_hot without num_classes", "say num_classes")
    if ids.value.bound is None or ids.value.bound > classes:
        ids = call.emit("clamp", [ids], ids.roles, {"min": 0, "max": classes - 1})
    return call.emit("one_hot", [ids], (*ids.roles, Role.FEATURE), {"num_classes": classes})
