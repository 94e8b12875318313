"""Shapes, and the arithmetic on them; parts of tensors, and several together."""

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from elman_models.from_onnx.call import OnnxCall
from elman_models.from_onnx.operators.registry import handles
from elman_models.from_onnx.sizes import MAX_SIZES, Number, Operand, Sizes, check_numel

_FOREVER = (1 << 63) - 1
"""The end of an axis, in int64; exporters write the greatest of int32, too."""


@handles("Shape")
def shape(call: OnnxCall) -> Sizes:
    """The lengths of all axes, or of some."""
    sizes = tuple(call.tensor(0).shape)
    end = call.integer("end", len(sizes))
    return Sizes(sizes[call.integer("start", 0) : end])


@handles("Size")
def size(call: OnnxCall) -> Sizes:
    """How many numbers there are."""
    return Sizes((math.prod(call.tensor(0).shape),), is_scalar=True)


@handles("Reshape")
def reshape(call: OnnxCall) -> torch.Tensor | Sizes:
    """0 keeps an axis, -1 is what is left."""
    given, wanted = call.operand(0), list(call.sizes(1).numbers)
    if isinstance(given, Sizes):
        if len(wanted) > 1:
            return given.tensor().reshape(wanted)  # type: ignore[arg-type]
        return Sizes(given.numbers, is_scalar=not wanted)
    if not call.integer("allowzero", 0):
        wanted = [given.shape[i] if isinstance(n, int) and n == 0 else n for i, n in enumerate(wanted)]
    return given.reshape(wanted)  # type: ignore[arg-type]


@handles("Flatten")
def flatten(call: OnnxCall) -> torch.Tensor:
    """To two axes: those before `axis`, and the others."""
    given = call.tensor(0)
    axis = call.integer("axis", 1) % (given.dim() + 1)
    if axis == 1:
        return given.reshape(given.shape[0], -1)
    return given.reshape(math.prod(given.shape[:axis]), math.prod(given.shape[axis:]))


@handles("Transpose")
def transpose(call: OnnxCall) -> torch.Tensor:
    """Axes in another order; without one from the last to the first."""
    given = call.tensor(0)
    order = call.ints("perm", 9) or tuple(reversed(range(given.dim())))
    return given.permute(order)


@handles("Squeeze")
def squeeze(call: OnnxCall) -> torch.Tensor | Sizes:
    """Without axes of 1."""
    given, axes = call.operand(0), call.ints("axes", 1)
    if isinstance(given, Sizes):
        return Sizes((given.number,), is_scalar=True)
    if axes is None:
        axes = tuple(a for a, s in enumerate(given.shape) if isinstance(s, int) and s == 1)
    for axis in sorted((axis % given.dim() for axis in axes), reverse=True):
        if not isinstance(given.shape[axis], int) or given.shape[axis] != 1:
            raise call.refuse(f"axis {axis} of {list(given.shape)} is not of size 1")
        given = given.squeeze(axis)
    return given


@handles("Unsqueeze")
def unsqueeze(call: OnnxCall) -> torch.Tensor | Sizes:
    """With axes of 1."""
    given, axes = call.operand(0), call.ints("axes", 1) or ()
    if isinstance(given, Sizes):
        if given.is_scalar and axes in ((0,), (-1,)):
            return Sizes(given.numbers)
        given = given.tensor()
    rank = given.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        given = given.unsqueeze(axis)
    return given


@handles("Concat")
def concat(call: OnnxCall) -> torch.Tensor | Sizes:
    """One after another along an axis."""
    parts = [call.operand(index) for index in range(len(call.given))]
    if all(isinstance(part, Sizes) for part in parts):
        return Sizes(tuple(number for part in parts if isinstance(part, Sizes) for number in part.numbers))
    tensors = call.tensors()
    return torch.cat(tensors, call.axis(tensors[0].dim(), -1))


@handles("Split")
def split(call: OnnxCall) -> Sequence[Operand]:
    """Parts of an axis: of these sizes, or of the same."""
    given, sizes = call.tensor(0), call.ints("split", 1)
    axis, parts = call.axis(given.dim(), 0), len(call.node.outputs)
    if sizes is None:
        length = given.shape[axis]
        if not isinstance(length, int):
            raise call.refuse(f"axis {axis}, whose length is open, in {parts} parts")
        each = -(-length // parts)
        sizes = (*(each,) * (parts - 1), length - each * (parts - 1))
    return torch.split(given, list(sizes), axis)


@handles("Gather")
def gather(call: OnnxCall) -> torch.Tensor | Sizes:
    """Rows of a table for ids; one of an axis, or some, by numbers that are known."""
    data, axis, known = call.operand(0), call.integer("axis", 0), call.constant(1)
    if isinstance(data, Sizes):
        numbers = [data.numbers[int(index)] for index in call.sizes(1).numbers]
        return Sizes(tuple(numbers), is_scalar=call.sizes(1).is_scalar)
    if known is not None and known.ndim == 0:
        return data.select(axis, int(known))
    if known is not None and known.ndim == 1:
        length = data.shape[axis]
        indices = [int(i) % length if isinstance(length, int) else int(i) for i in known]
        return torch.index_select(data, axis, torch.tensor(indices))
    if call.constant(0) is None or data.dim() != 2 or axis != 0:
        raise call.refuse("of numbers that depend on an index that does", "a table [ids, size] that is known, axis 0")
    return functional.embedding(call.tensor(1).long(), data)


@handles("OneHot")
def one_hot(call: OnnxCall) -> torch.Tensor:
    """Ids as vectors of zeros and one 1."""
    values, depth = call.constant(2), call.ints("depth", 1)
    if values is None or list(values) != [0, 1] or call.integer("axis", -1) not in (-1, call.tensor(0).dim()):
        raise call.refuse("other than zeros and ones along a new last axis")
    return functional.one_hot(call.tensor(0), (depth or (0,))[0]).float()


@handles("Slice")
def slice_(call: OnnxCall) -> torch.Tensor | Sizes:
    """Parts of axes, from one place to before another."""
    given = call.operand(0)
    starts, ends, axes, steps = (_bounds(call, name, index) for index, name in enumerate(_SLICE, 1))
    if starts is None or ends is None:
        raise call.refuse("expected starts and ends")
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        given = _sliced(call, given, start, end, int(axis), int(step))
    return given


_SLICE = ("starts", "ends", "axes", "steps")


def _bounds(call: OnnxCall, name: str, index: int) -> tuple[Number, ...] | None:
    if name in call.node.attributes:
        return call.ints(name, index)
    return call.sizes(index).numbers if call.has(index) else None


def _sliced(
    call: OnnxCall, given: torch.Tensor | Sizes, start: Number, end: Number, axis: int, step: int
) -> torch.Tensor | Sizes:
    is_end = isinstance(end, int) and end >= (1 << 31) - 1
    stop = None if is_end else end
    if isinstance(given, Sizes):
        return Sizes(given.numbers[start:stop:step])  # type: ignore[index]
    if step == -1 and isinstance(start, int) and isinstance(end, int) and start == -1 and end <= -(1 << 31) + 1:
        return torch.flip(given, (axis % given.dim(),))
    if step < 1:
        raise call.refuse(f"backwards from {start} to {end}")
    index = (*(slice(None),) * (axis % given.dim()), slice(start, stop, step))
    return given[index]


@handles("Expand")
def expand(call: OnnxCall) -> torch.Tensor:
    """Axes of 1 repeated; those of 1 in the shape are kept."""
    given, wanted = call.tensor(0), list(call.sizes(1).numbers)
    check_numel(wanted)
    missing = given.dim() - len(wanted)
    wanted = [1] * missing + wanted
    kept = [-1 if isinstance(n, int) and n == 1 and i >= len(wanted) - given.dim() else n for i, n in enumerate(wanted)]
    return given.expand(kept)  # type: ignore[arg-type]


@handles("Tile")
def tile(call: OnnxCall) -> torch.Tensor:
    """Repeated along each axis."""
    given, repeats = call.tensor(0), list(call.sizes(1).numbers)
    check_numel([*given.shape, *repeats])
    return given.repeat(repeats)  # type: ignore[arg-type]


@handles("ConstantOfShape")
def constant_of_shape(call: OnnxCall) -> torch.Tensor | Sizes:
    """One number in every place."""
    sizes, value = call.sizes(0).numbers, call.array("value")
    number = 0.0 if value is None else value.reshape(()).item()
    check_numel(sizes)
    if isinstance(number, int) and len(sizes) == 1 and isinstance(sizes[0], int) and sizes[0] <= MAX_SIZES:
        return Sizes((number,) * sizes[0])
    return torch.full(sizes, number)  # type: ignore[arg-type]


@handles("Pad")
def pad(call: OnnxCall) -> torch.Tensor:
    """A number around axes."""
    given, pads = call.tensor(0), call.ints("pads", 1)
    if call.text("mode", "constant") != "constant" or pads is None:
        raise call.refuse(f"mode {call.text('mode', 'constant')}", "constant, with zeros before the first step")
    axes = call.ints("", 3) if call.has(3) else tuple(range(given.dim()))
    before = dict(zip((a % given.dim() for a in axes or ()), pads[: len(pads) // 2], strict=True))
    after = dict(zip((a % given.dim() for a in axes or ()), pads[len(pads) // 2 :], strict=True))
    amounts = [side.get(axis, 0) for axis in reversed(range(given.dim())) for side in (before, after)]
    check_numel([*given.shape, *(1 + abs(amount) for amount in amounts)])
    return functional.pad(given, amounts, value=call.limit("value", 2) or 0.0)
