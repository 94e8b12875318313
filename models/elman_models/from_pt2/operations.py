"""Which of torch's operations a .pt2 file may name, and one of them done."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from elman_models.export.handlers import HANDLERS
from elman_models.export.refusals import ExportError
from elman_models.from_onnx.sizes import Turned, check_numel
from elman_models.from_pt2.program import Pt2Node

RECURRENCES = ("lstm", "gru", "rnn_tanh", "rnn_relu")
SKIPPED = ("_assert_async", "_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range_for_size")
"""They give nothing, and what they assert is what is refused here by name."""
_SIZES: Mapping[str, Callable[..., object]] = {
    f"_operator.{name}": getattr(operator, name)
    for name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge")
}
"""Arithmetic on sizes."""
_OF_WEIGHTS = ("_weight_norm", "vdot")
"""What weights are computed of; of an input they are refused later, as are others of torch's."""
_OF_MODULES = ("gather", "index_put", "index_put_")
"""What needs the module: a file does not say by which numbers is picked, and so not how it is to be tried."""
_MANY = ("unbind", "split", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk")
"""Of what they give, a number says how many."""


def is_skipped(node: Pt2Node) -> bool:
    """Whether a node does nothing that a graph has."""
    return node.op in SKIPPED


def operation(node: Pt2Node) -> Callable[..., object]:
    """What a node does.

    Raises:
        ExportError: not one of those that a graph can be made of.
    """
    if node.target in _SIZES:
        return _SIZES[node.target]
    name, _, overload = node.target.removeprefix("torch.ops.aten.").partition(".")
    plain = name[:-1] if name.endswith("_") and not name.endswith("__") else name
    known = plain in HANDLERS or name in (*HANDLERS, *RECURRENCES, *_OF_WEIGHTS, "sym_size")
    known = known and name not in _OF_MODULES
    if not node.target.startswith("torch.ops.aten.") or not known or not hasattr(torch.ops.aten, name):
        raise ExportError(f"{node}: an operation that is not known. Instead: {_instead(node)}")
    packet = getattr(torch.ops.aten, name)
    if overload not in packet.overloads() or (name in RECURRENCES and overload != "input"):
        raise ExportError(f"{node}: of a form that is not known. Instead: {_instead(node)}")
    found: Callable[..., object] = getattr(packet, overload)
    return found


def _instead(node: Pt2Node) -> str:
    if node.op in RECURRENCES:
        return "give the stack the padded sequences; a bundle runs each row to its own length, without padding"
    return "say it by others and export again, or give the module: elman_models.pack(module, ...)"


def is_in_place(node: Pt2Node) -> bool:
    """Whether it changes what it takes."""
    return node.op.endswith("_") and not node.op.endswith("__")


def bound(node: Pt2Node, call: Callable[..., object], given: Mapping[str, object]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments by name as torch's operation takes them.

    Raises:
        ExportError: one that it does not have, or lacks.
    """
    schema = getattr(call, "_schema", None)
    if schema is None:
        return list(given.values()), {}
    known = [a.name for a in schema.arguments]
    extra = [name for name in given if name not in known]
    missing = [a.name for a in schema.arguments if not a.has_default_value() and a.name not in given]
    if extra or missing:
        raise ExportError(f"{node}: expected the arguments {', '.join(known)}, got {', '.join(given) or 'none'}")
    ordered, keywords, left = [], {}, dict(given)
    for a in schema.arguments:
        if a.kwarg_only:
            if a.name in left:
                keywords[a.name] = left[a.name]
        else:
            ordered.append(left.get(a.name, a.default_value))
    return ordered, keywords


def done(node: Pt2Node, given: Mapping[str, object], *, limited: bool = False) -> object:
    """What the operation gives.

    Args:
        node: the operation.
        given: its arguments by name.
        limited: hold results against what a value of a graph may have.

    Raises:
        ExportError: whatever it raises, or a result that is too large.
    """
    call = operation(node)
    ordered, keywords = bound(node, call, given)
    try:
        _check_number(node, ordered)
        result = call(*ordered, **keywords)
        if limited:
            excess(result, ordered)
        return result
    except ExportError:
        raise
    except Exception as error:  # torch raises nearly anything where shapes do not go together
        first = (str(error).strip() or type(error).__name__).partition("\n")[0]
        raise ExportError(f"{node}: {first}") from error


def excess(result: object, given: object) -> int:
    """Numbers that a result has, axes that are open aside, beyond those that the operation is given.

    Raises:
        ValueError: they are more than a value of a graph may have.
    """
    known = sum(one.numel() for one in tensors_of(given) if all(isinstance(size, int) for size in one.shape))
    return sum(max(0, check_numel(one.shape, known) - known) for one in tensors_of(result))


def count(node: Pt2Node, result: object, turned: Turned) -> None:
    """Has `turned` take account of what a node gives.

    Raises:
        ExportError: it is too large.
    """
    try:
        turned.count(one.shape for one in tensors_of(result))
    except ValueError as error:
        raise ExportError(f"{node}: {error}") from error


def _check_number(node: Pt2Node, ordered: Sequence[Any]) -> None:
    """Of tensors that an operation gives, before it makes them."""
    if node.op not in _MANY:
        return
    axis = ordered[1 if node.op == "unbind" else 2]
    size = ordered[0].shape[axis]
    number = ordered[1]
    if node.op == "unbind":
        number = size
    elif node.op in ("split", "unsafe_split") and isinstance(number, int):
        number = -(-size // max(number, 1))
    if isinstance(number, int) and number > max(len(node.outputs), 1):
        raise ValueError(f"gives {number} tensors, the file has {len(node.outputs)} of them")


def tensors_of(given: object) -> list[torch.Tensor]:
    """All in tuples and lists."""
    if isinstance(given, torch.Tensor):
        return [given]
    return [one for part in given for one in tensors_of(part)] if isinstance(given, list | tuple) else []
