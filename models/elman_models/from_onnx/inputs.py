"""What an ONNX graph takes, as an example of it: which sizes are open, and which of them are the same."""

from collections.abc import Iterator

import numpy as np
import torch

from elman_models.export.tensors import Argument
from elman_models.from_onnx.graph import OnnxGraph, OnnxInput
from elman_models.from_onnx.module import output_name
from elman_models.from_onnx.recurrent import RECURRENCES

_CUTS = ("Slice", "Split", "Gather", "Squeeze", "Unsqueeze", "Identity", "Cast")
_BATCH, _LENGTH = 3, 5
"""Of an example: unlike each other, and neither is a size that torch.export takes for a constant."""


def examples(graph: OnnxGraph) -> Iterator[Argument]:
    """Several, of which the first that goes with the graph is the right one: with all of what could be batch or length
    open, the length first or the batch; then with sizes that the file has fixed as they are."""
    seen: set[tuple[tuple[int, ...], ...]] = set()
    for is_fixed in (False, True):
        for is_batch_first in (False, True):
            shapes = tuple(_shape(graph, one, is_batch_first, is_fixed) for one in graph.inputs)
            if shapes not in seen:
                seen.add(shapes)
                pairs = zip(graph.inputs, shapes, strict=True)
                yield Argument("inputs", {output_name(one.name): _tensor(one, shape) for one, shape in pairs})


def batch_is_first(graph: OnnxGraph) -> bool | None:
    """As the names of an input's first two axes say; None: they say nothing."""
    for one in graph.inputs:
        kinds = [_kind(str(size).lower()) for size in one.shape[:2]]
        if len(kinds) > 1 and kinds[0] != kinds[1]:
            return kinds[0] == "batch" or kinds[1] == "length"
    return None


def _kind(name: str) -> str:
    if "batch" in name or name in ("b", "n"):
        return "batch"
    is_length = name == "t" or any(word in name for word in ("seq", "time", "len", "step", "frame"))
    return "length" if is_length else ""


def features(graph: OnnxGraph) -> dict[str, set[int]]:
    """By an input's name the axes that are neither batch nor length: the file has fixed them."""
    states = _states(graph)
    return {
        output_name(one.name): {
            axis for axis, size in enumerate(one.shape) if isinstance(size, int) and axis not in _leading(one, states)
        }
        for one in graph.inputs
    }


def _states(graph: OnnxGraph) -> set[str]:
    """The values that are what a recurrence begins with, or are cut for that."""
    found = {name for node in graph.nodes if node.op in RECURRENCES for name in node.inputs[5:7]}
    for node in reversed(graph.nodes):
        if node.op in _CUTS and found & set(node.outputs):
            found.add(node.inputs[0])
    return found


def _shape(graph: OnnxGraph, one: OnnxInput, is_batch_first: bool, is_fixed: bool) -> tuple[int, ...]:
    sizes: dict[str, int] = {}
    states = _states(graph)
    for other in graph.inputs:
        for axis, size in enumerate(other.shape):
            if isinstance(size, str):
                sizes.setdefault(size, _open_size(_leading(other, states), axis, is_batch_first))
    leading = _leading(one, states)
    return tuple(
        sizes[size]
        if isinstance(size, str)
        else size
        if is_fixed or axis not in leading
        else _open_size(leading, axis, is_batch_first)
        for axis, size in enumerate(one.shape)
    )


def _leading(one: OnnxInput, states: set[str]) -> tuple[int, ...]:
    """The axes that are those of batch and length: of sequences the first two, of a stack's state the second."""
    rank = len(one.shape) + (1 if one.dtype.kind != "f" else 0)
    if rank < 3:
        return (0,)
    return (1,) if one.name in states else (0, 1)


def _open_size(leading: tuple[int, ...], axis: int, is_batch_first: bool) -> int:
    if len(leading) == 1:
        return _BATCH
    return _BATCH if (axis == 0) == is_batch_first else _LENGTH


def _tensor(one: OnnxInput, shape: tuple[int, ...]) -> torch.Tensor:
    generator = np.random.default_rng(0)
    if one.dtype.kind == "f":
        return torch.from_numpy(generator.standard_normal(shape, np.float32))
    return torch.zeros(shape, dtype=torch.int64)
