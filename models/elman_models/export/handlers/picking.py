"""Numbers picked by numbers that are computed: `gather`."""

from elman_models.export.call import Call
from elman_models.export.handlers.elementwise import chosen
from elman_models.export.handlers.identities import as_dtype
from elman_models.export.handlers.reductions import reduced
from elman_models.export.handlers.registry import handles
from elman_models.export.handlers.reshapes import without_axes
from elman_models.export.traced import DYNAMIC, Role, Traced
from elman_models.graph.value import DType

LAST_STEP = (
    "x[:, -1] for each row's last step: rows are never padded in a bundle, each is run to its own length; else give "
    "every step's output, of which a caller takes what it wants"
)


@handles("gather")
def gather(call: Call) -> Traced:
    """One of the features of each step by its number, `q.gather(-1, action.unsqueeze(-1))`: a sum with all others 0."""
    given, ids = call.tensor("self"), call.tensor("index")
    axis = call.axis(given)
    if given.roles[axis] in DYNAMIC:
        what = "steps" if given.roles[axis] is Role.TIME else "rows"
        call.refuse(f"gather along the axis of {given.roles[axis]}: {what} are picked by number", LAST_STEP)
    others = [a for a, role in enumerate(ids.roles) if role not in DYNAMIC and ids.size(a) != 1]
    if given.roles[axis] is not Role.FEATURE or len(given.features) != 1 or others:
        call.refuse(
            "gather of other than one number of a vector for each step",
            "a number at a time: x.gather(-1, index.unsqueeze(-1))",
        )
    size = given.size(axis)
    bare = without_axes(call, ids, [a for a, role in enumerate(ids.roles) if role not in DYNAMIC])
    if bare.value.bound is None or bare.value.bound > size:
        call.refuse(
            f"gather by numbers that are not known to be in [0, {size})",
            "an input of ids alone, or what argmax or clamp gives",
        )
    roles = (*bare.roles, Role.FEATURE)
    is_it = as_dtype(call, call.emit("one_hot", [bare], roles, {"num_classes": size}), DType.BOOL)
    vector = without_axes(call, given, [a for a, role in enumerate(given.roles) if role is Role.UNIT])
    if vector.roles != roles:
        call.refuse("gather of tensors whose axes are laid out otherwise")
    kept = chosen(call, is_it, vector, call.raw_number(0.0))
    picked = reduced(call, "sum", kept, [len(roles) - 1], keepdim=False)
    return picked.with_roles(*(role if role in DYNAMIC else Role.UNIT for role in given.roles))
