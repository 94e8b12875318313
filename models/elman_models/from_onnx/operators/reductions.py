"""Over axes: sums, means, the greatest, softmax, where it stands."""

from collections.abc import Callable

import torch

from elman_models.from_onnx.call import OnnxCall
from elman_models.from_onnx.operators.registry import handles

_LAST_AXIS_ONLY = 13
"""Before this version softmax joined all axes from `axis` on."""


@handles("Softmax", "LogSoftmax")
def softmax(call: OnnxCall) -> torch.Tensor:
    """Along an axis."""
    given = call.tensor(0)
    is_old = call.node.opset < _LAST_AXIS_ONLY
    axis = call.axis(given.dim(), 1 if is_old else -1)
    if is_old and axis != given.dim() - 1:
        raise call.refuse(f"of opset {call.node.opset} over all axes from {axis} on", "the last axis")
    return torch.softmax(given, axis) if call.node.op == "Softmax" else torch.log_softmax(given, axis)


_REDUCTIONS: dict[str, Callable[[torch.Tensor, list[int], bool], torch.Tensor]] = {
    "ReduceSum": torch.sum,
    "ReduceMean": torch.mean,
    "ReduceMax": torch.amax,
    "ReduceMin": torch.amin,
    "ReduceLogSumExp": torch.logsumexp,
    "ReduceL2": lambda x, axes, keep: torch.sqrt(torch.sum(x * x, axes, keep)),
    "ReduceSumSquare": lambda x, axes, keep: torch.sum(x * x, axes, keep),
}


@handles(*_REDUCTIONS)
def reduction(call: OnnxCall) -> torch.Tensor:
    """Over axes, or over all."""
    given = call.tensor(0)
    axes = call.ints("axes", 1)
    if not axes and call.integer("noop_with_empty_axes", 0):
        return given
    chosen = list(axes or range(given.dim()))
    return _REDUCTIONS[call.node.op](given, chosen, bool(call.integer("keepdims", 1)))


@handles("ArgMax", "ArgMin")
def argument(call: OnnxCall) -> torch.Tensor:
    """Where the greatest of an axis stands."""
    given = call.tensor(0)
    if call.integer("select_last_index", 0):
        raise call.refuse("select_last_index: the first is taken of equal ones")
    function = torch.argmax if call.node.op == "ArgMax" else torch.argmin
    return function(given, call.axis(given.dim(), 0), bool(call.integer("keepdims", 1)))


@handles("TopK")
def top_k(call: OnnxCall) -> tuple[torch.Tensor, torch.Tensor]:
    """The greatest of an axis, and where they stand."""
    given, (number, *_) = call.tensor(0), call.ints("k", 1) or (0,)
    values, indices = torch.topk(
        given, number, call.axis(given.dim(), -1), bool(call.integer("largest", 1)), bool(call.integer("sorted", 1))
    )
    return values, indices


@handles("CumSum")
def cumsum(call: OnnxCall) -> torch.Tensor:
    """Along an axis, from its beginning."""
    if call.integer("exclusive", 0) or call.integer("reverse", 0):
        raise call.refuse("exclusive or reverse")
    (axis,) = call.ints("axis", 1) or (0,)
    return torch.cumsum(call.tensor(0), axis)
