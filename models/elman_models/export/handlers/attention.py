"""Attention over time, in whole graphs: query key^T, a softmax, values."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from elman_models.export.broadcasting import reshaped, without_units
from elman_models.export.call import Call
from elman_models.export.handlers.registry import handles
from elman_models.export.traced import Role, Traced

NO_MASK = "give the sequences without padding and without a mask: a bundle runs each row to its own length"


@dataclass(frozen=True)
class Scores:
    """query key^T, of every step with every other: a matrix [T, T], which no value of the graph can be."""

    query: Traced  # [..., T, d]
    key: Traced  # [..., d, T]
    scale: float = 1.0
    is_softmax: bool = False


def scores(call: Call, left: Traced, right: Traced) -> Scores:
    """The scores of two sequences."""
    if (left.roles[-2], right.roles[-1]) != (Role.TIME, Role.TIME):
        call.refuse(f"{call.name} of the axes of {left.roles[-2]} and {right.roles[-1]}: rows see each other")
    call.whole("attention: every step sees the others")
    return Scores(left, right)


def of_scores(call: Call) -> object:
    """An operation one of whose arguments is scores."""
    known = _OF_SCORES.get(call.name)
    if known is None:
        call.refuse(f"{call.name} of attention's scores", NO_MASK)
    return known(call)


def _first(call: Call) -> Scores:
    given = next(iter(call.arguments.values()))
    if not isinstance(given, Scores):
        call.refuse(f"{call.name} of a tensor and attention's scores")
    return given


def _scaled(call: Call) -> Scores:
    given, number = _first(call), call.number("other")
    if given.is_softmax:
        call.refuse(f"{call.name} of attention's weights")
    return replace(given, scale=given.scale * number if call.name == "mul" else given.scale / number)


def _softmax(call: Call) -> Scores:
    given = _first(call)
    if call.integer("dim") not in (-1, len(given.query.roles) - 1) or given.is_softmax:
        call.refuse("softmax of attention's scores along another axis than the last")
    return replace(given, is_softmax=True)


def _product(call: Call) -> Traced:
    given = _first(call)
    value = call.tensor("other" if "other" in call.arguments else "mat2")
    if not given.is_softmax or value.roles[-2] is not Role.TIME:
        call.refuse("attention without a softmax over its scores")
    key = given.key.with_roles(*given.key.roles[:-2], given.key.roles[-1], given.key.roles[-2])
    return attended(call, given.query, key, value, given.scale)


_OF_SCORES: dict[str, Callable[[Call], object]] = {
    "mul": _scaled,
    "div": _scaled,
    "softmax": _softmax,
    "matmul": _product,
    "bmm": _product,
    **dict.fromkeys(("dropout", "contiguous", "clone"), _first),
}


def attended(call: Call, query: Traced, key: Traced, value: Traced, scale: float | None) -> Traced:
    """Queries [..., T, d] on keys [..., T, d] and values [..., T, e], whose axes before those of time are heads; the
    features of each are heads, then its own."""
    call.whole("attention: every step sees the others")
    heads = [axis for axis, role in enumerate(query.roles[:-2]) if role is Role.FEATURE]
    num_heads = 1
    for axis in heads:
        num_heads *= query.size(axis)
    flat = []
    for given in (query, key, value):
        given = without_units(call, given, [len(given.roles) - 1])
        total = 1
        for size in given.features:
            total *= size
        flat.append(reshaped(call, given, (total,), (Role.BATCH, Role.TIME, Role.FEATURE)))
    parameters = {"num_heads": num_heads, "scale": scale}
    result = call.emit("time_attention", flat, (Role.BATCH, Role.TIME, Role.FEATURE), parameters, None, call.label)
    lead = query.features[:-1]
    return reshaped(call, result, (*lead, result.features[0] // num_heads), (*query.roles[:-1], Role.FEATURE))


@handles("scaled_dot_product_attention")
def scaled_dot_product_attention(call: Call) -> Traced:
    """Without a mask."""
    if call.has("attn_mask"):
        call.refuse("attention with a mask", NO_MASK)
    if call.flag("is_causal"):
        call.refuse("attention that looks back at all steps", "a recurrence; or a whole graph without is_causal")
    scale = call.number("scale") if call.has("scale") else None
    query, key, value = (call.tensor(name) for name in ("query", "key", "value"))
    if query.roles[-2] is not Role.TIME or key.roles[-2] is not Role.TIME:
        call.refuse("attention over another axis than time")
    return attended(call, query, key, value, scale)


@handles("attend")
def attend(call: Call) -> Traced:
    """What is left of `torch.nn.MultiheadAttention` between its projections."""
    given = [call.tensor(name) for name in ("query", "key", "value")]
    heads, is_batch_first = call.integer("num_heads"), call.flag("batch_first")
    wanted = (Role.BATCH, Role.TIME) if is_batch_first else (Role.TIME, Role.BATCH)
    if any(value.roles[:2] != wanted for value in given):
        call.refuse("attention over another axis than time", "say batch_first as the sequences are laid out")
    call.whole("attention: every step sees the others")
    parameters = {"num_heads": heads, "scale": None}
    return call.emit("time_attention", given, given[0].roles, parameters, None, call.label)
