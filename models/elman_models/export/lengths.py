"""Inputs that have a length of their own: what would be a session's context, of one size, by chance."""

from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch.fx import Node

from elman_models.export.capture import Capture
from elman_models.export.inputs import ModuleInput
from elman_models.export.refusals import ExportError, Place, place_of, refusal
from elman_models.export.sequences import STEPPED, operation_name
from elman_models.export.sizes import shape_of
from elman_models.export.traced import Role, dtype_of
from elman_models.graph.value import DType

_PICKS = ("select", "slice", "unbind", "split", "chunk")
"""What takes some steps of many."""


def names_of(context: Sequence[str]) -> tuple[str, ...]:
    """The names in an argument `context`.

    Raises:
        ExportError: it is one text, whose letters are no names.
    """
    if isinstance(context, str):
        raise ExportError(f"context: expected a sequence of names, ({context!r},) say, got one text, {context!r}")
    return tuple(context)


def check_context(capture: Capture, context: Sequence[str], *, is_named: bool = True) -> None:
    """Nothing, where each input is a sequence of the one length, clearly none, or named in `context`.

    Args:
        capture: what was read.
        context: names of inputs that are one thing for a session.
        is_named: whether float [B, F] must be named, too, where F may be any; else they are clearly no sequence unless
            a stack runs along F.

    Raises:
        ExportError: an input has a length of its own; or `context` names what is none.
    """
    for name in names_of(context):
        node = capture.inputs.get(name)
        if node is None:
            raise ExportError(f"context: expected of {', '.join(capture.inputs)}, got {name}")
        if capture.sequences.time is not None and _is_sequence(capture, node):
            raise ExportError(f"context: {name} is as long as the sequences are, so it is no context but an input")
    for name, node in capture.inputs.items():
        is_used = bool(node.users)  # else it is refused for that
        if is_used and name not in context and capture.sequences.time is not None and not _is_sequence(capture, node):
            _check_input(capture, name, node, is_named=is_named)


def check_no_state(inputs: Sequence[ModuleInput], context: Sequence[str]) -> None:
    """Nothing, where none of `context` is what a stack begins with.

    Raises:
        ExportError: one is.
    """
    for one in inputs:
        if one.kind == "initial" and one.name in context:
            raise ExportError(
                f"context: {one.name} is what a stack begins with, a session's state and no context. Instead: leave it "
                "out of context, and give it as initial_state where a session is opened"
            )


def _check_input(capture: Capture, name: str, node: Node, *, is_named: bool) -> None:
    unrolled = _unrolled(capture.nodes)
    open_axes = capture.stepped_axes if not is_named and _is_row(node) else capture.open_axes
    for axis, size in enumerate(shape_of(node)):
        if axis in open_axes.get(name, ()) and not _only_picked(node, axis):
            raise _own_length(capture, name, f"a length of its own ({size} in the example)", node)
        if isinstance(size, int) and size in unrolled and _is_picked_from(node, size):
            raise _own_length(
                capture, name, f"a length of its own ({size}), of which a loop takes each step", node, unrolled[size]
            )


def _is_row(node: Node) -> bool:
    """Whether it is numbers [B, F]."""
    return len(shape_of(node)) == len((Role.BATCH, Role.FEATURE)) and dtype_of(node.meta["val"].dtype) is DType.FLOAT32


def _is_sequence(capture: Capture, node: Node) -> bool:
    return capture.sequences.time in shape_of(node)


def _only_picked(node: Node, axis: int) -> bool:
    """Whether nothing but numbered parts of an axis are used, so that it is no length."""
    users = [user for user in node.users if operation_name(user) != "sym_size"]
    return bool(users) and all(_picks(user, axis) for user in users)


def _picks(user: Node, axis: int) -> bool:
    if operation_name(user) not in ("select", "slice") or len(user.args) == 1:
        return False
    given, along = user.args[:2]
    is_along = isinstance(along, int) and along % len(shape_of(given)) == axis
    return is_along if operation_name(user) == "select" else not is_along and _only_picked(user, axis)


def _is_picked_from(node: Node, size: int) -> bool:
    """Whether steps are taken one by one of an axis that long, of the input or of what was made of it step by step."""
    pending, seen = [node], set[Node]()
    while pending:
        given = pending.pop()
        for user in given.users:
            if operation_name(user) in _PICKS and _size_along(user, given) == size:
                return True
            if user not in seen and _has_axis(user, size):
                seen.add(user)
                pending.append(user)
    return False


def _has_axis(user: Node, size: int) -> bool:
    value = user.meta.get("val")
    return size in shape_of(user) if isinstance(value, torch.Tensor) else isinstance(value, (tuple, list))


def _size_along(user: Node, given: Node) -> object:
    """Of the axis of `given` that an operation picks from."""
    place = 1 if operation_name(user) in ("select", "slice", "unbind") else 2
    axis = user.args[place] if len(user.args) > place else user.kwargs.get("dim", 0)
    return shape_of(given)[axis] if isinstance(axis, int) else None


def _unrolled(nodes: Sequence[Node]) -> dict[int, Place]:
    """How many steps loops take that were unrolled, and where."""
    places = [place_of(node) for node in nodes if operation_name(node) in STEPPED]
    return {count: place for place, count in Counter(places).items() if count > 1}


def _own_length(capture: Capture, name: str, what: str, node: Node, place: Place | None = None) -> ExportError:
    others = " and ".join(other for other, its in capture.inputs.items() if _is_sequence(capture, its))
    may_say = "" if capture.parts else f'; or say context=("{name}",), if it is one thing for a session'
    return refusal(
        place or next(_places(node), Place()),
        f"{name} has {what}, beside that of {others}. A model steps along one length, so {name} would be the same for "
        "all of a session, and always as long as in the example",
        f"pack what takes {others} and what takes {name} as two models: sessions of the second begin with the state "
        f"that those of the first ended with, or have as context what it attends to{may_say}",
    )


def _places(node: Node) -> Iterator[Place]:
    """Where it is used."""
    for user in node.users:
        place = place_of(user)
        if place.file:
            yield place
        yield from _places(user)
