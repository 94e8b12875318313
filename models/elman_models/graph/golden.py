"""A graph held against a golden file: inputs, and what the module that was trained gives for them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from elman_models.comparison import Difference, chunk_lengths, relative_difference
from elman_models.errors import GoldenError
from elman_models.golden import read_arrays
from elman_models.graph.inputs import PackedInputs
from elman_models.graph.spec import GraphSpec, InputSpec
from elman_models.graph.stack import GraphStack
from elman_models.graph.state import GraphState, StateColumn
from elman_models.graph.value import DType, Per
from elman_models.spec import Cell

Tensors = dict[str, torch.Tensor]


def compare_graph(stack: GraphStack, path: str | os.PathLike[str]) -> Difference:
    """How far a graph is from a golden file (.npz, in which no pickle is opened, or .safetensors), computed in float32,
    from the state that it begins with.

    Its arrays: each input by name, [T, B, *features], [B, T, *features] or [T, *features]; each context [B, *features]
    or [*features]; outputs by name, some or all, of every step or of the last, or of whole rows; and states by name, if
    given, as they are after the last step: [B, *features] or [layers, B, *features]. One input alone may be called
    `input`, one output `output`, the states of one recurrence `h_n` and `c_n`; a name that an output and a state share
    is the output's.

    Raises:
        GoldenError: missing, unreadable, or with wrong names, shapes, dtypes or values.
    """
    file = Path(path)
    arrays = _by_our_names(stack.spec, read_arrays(file), str(file))
    inputs = {one.name: _numbers(one, arrays[one.name], f"{file}: {one.name}") for one in stack.spec.inputs}
    context = {one.name: _numbers(one, arrays[one.name], f"{file}: {one.name}") for one in stack.spec.context}
    expected = {name: arrays[name] for name in _results(stack.spec) if name in arrays}
    for name, array in expected.items():
        _check_finite(array, f"{file}: {name}")
    first = stack.spec.inputs[0]
    num_axes = inputs[first.name].ndim - len(first.features)
    found = []
    for layout in ("[T, ...]",) if num_axes == 1 else ("[T, B, ...]", "[B, T, ...]"):
        run = _laid_out(stack.spec, inputs, context, layout)
        if run is not None:
            found += [one for one in [_compare(stack, *run, expected, layout)] if one is not None]
    if not found:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise GoldenError(f"{file}: its arrays are not of one batch of sequences: {shapes}")
    return min(found, key=lambda difference: difference.largest)


def _by_our_names(spec: GraphSpec, arrays: Mapping[str, torch.Tensor], where: str) -> Tensors:
    needed = [one.name for one in (*spec.inputs, *spec.context)]
    results = _results(spec)
    words = {"input": needed[0]} if len(spec.inputs) == 1 else {}
    words |= {"output": results[0]} if len(spec.outputs) == 1 else {}
    recurrences = [node for node in spec.nodes if node.op in (*Cell, "gru_reset_before") and node.states]
    words |= {f"{key}_n": name for key, name in recurrences[0].states.items()} if len(recurrences) == 1 else {}
    own = {name: name if name in (*needed, *results) else words.get(name, name) for name in arrays}
    named = {own[name]: array for name, array in arrays.items()}
    missing = [name for name in needed if name not in named]
    extra = [name for name in named if name not in (*needed, *results)]
    if missing or extra or len(named) < len(arrays) or not any(name in named for name in results):
        raise GoldenError(
            f"{where}: expected {', '.join(needed)} and some of {', '.join(results)}, got {', '.join(arrays) or 'none'}"
        )
    return named


def _results(spec: GraphSpec) -> list[str]:
    # Outputs, then states that no output is called.
    names = [output.name for output in spec.outputs]
    return [*names, *(state.name for state in spec.states if state.name not in names)]


def _numbers(one: InputSpec, array: torch.Tensor, label: str) -> torch.Tensor:
    if one.dtype is DType.INT64:
        if array.is_floating_point():
            raise GoldenError(f"{label}: expected integers (ids), got {str(array.dtype).removeprefix('torch.')}")
        array = array.long()
        if one.num_embeddings and not bool(((array >= 0) & (array < one.num_embeddings)).all()):
            limits = f"ids in [0, {one.num_embeddings})"
            raise GoldenError(f"{label}: expected {limits}, got {int(array.min())} to {int(array.max())}")
        return array
    _check_finite(array, label)
    return array.float()


def _check_finite(array: torch.Tensor, label: str) -> None:
    if not bool(torch.isfinite(array).all()):
        raise GoldenError(f"{label}: expected finite numbers, got NaN or infinity")


def _laid_out(spec: GraphSpec, inputs: Tensors, context: Tensors, layout: str) -> tuple[Tensors, Tensors] | None:
    # [T, B, *features] of each input and [B, *features] of each context, if the arrays are so.
    laid: Tensors = {}
    for one in spec.inputs:
        array = inputs[one.name]
        array = array.unsqueeze(1) if layout == "[T, ...]" else array
        if array.ndim != len(one.features) + 2 or tuple(array.shape[2:]) != one.features or not array.numel():
            return None
        laid[one.name] = array.transpose(0, 1) if layout == "[B, T, ...]" else array
    shapes = {tuple(array.shape[:2]) for array in laid.values()}
    if len(shapes) != 1:
        return None
    batch = next(iter(shapes))[1]
    rows = {}
    for one in spec.context:
        array = context[one.name]
        array = array.unsqueeze(0) if array.ndim == len(one.features) else array
        if tuple(array.shape) != (batch, *one.features):
            return None
        rows[one.name] = array
    return laid, rows


def _compare(stack: GraphStack, inputs: Tensors, context: Tensors, expected: Tensors, layout: str) -> Difference | None:
    steps = len(next(iter(inputs.values())))
    whole = _largest(stack, _run(stack, inputs, context, [steps]), expected, layout)
    if whole is None:
        return None
    if not stack.spec.keeps_sessions:
        return Difference(layout, whole[0], None, whole[1], steps)
    chunked = _largest(stack, _run(stack, inputs, context, list(chunk_lengths(steps))), expected, layout)
    if chunked is None:
        return None
    return Difference(layout, whole[0], chunked[0], max(whole, chunked)[1], steps)


def _run(stack: GraphStack, inputs: Tensors, context: Tensors, lengths: Sequence[int]) -> Tensors:
    # [T, B, *features] of each output, fed in chunks; of whole rows [B, *features]. And the states after it.
    batch = next(iter(inputs.values())).shape[1]
    state, parts, begin = stack.initial_state(batch, context), [], 0
    kept = state.tensors[stack.layout.num_states :]
    for length in lengths:
        data = tuple(inputs[one.name][begin : begin + length].flatten(0, 1).contiguous() for one in stack.spec.inputs)
        given, after = stack.step(PackedInputs(data, np.full(length, batch, np.int64)), state)
        state = GraphState(stack.layout, (*after.tensors, *kept))
        parts.append({n: t.view(length, batch, *t.shape[1:]) if _has_steps(stack, n) else t for n, t in given.items()})
        begin += length
    outputs = {
        name: torch.cat([p[name] for p in parts]) if _has_steps(stack, name) else parts[-1][name] for name in parts[0]
    }
    return dict(after) | outputs


def _has_steps(stack: GraphStack, name: str) -> bool:
    value = next(one.value for one in stack.spec.outputs if one.name == name)
    return stack.spec.inferred().values[value].per is Per.STEP


def _largest(stack: GraphStack, got: Tensors, expected: Tensors, layout: str) -> tuple[float, str] | None:
    # The largest difference relative to max(1, |expected|), and of which output; None where shapes do not agree.
    outputs = [one.name for one in stack.spec.outputs]
    states = {column.name: column for column in stack.layout.columns if column.name not in outputs}
    found = []
    for name, want in expected.items():
        if name in states:
            have = _state_as_told(got[name], want, layout, states[name])
        else:
            have = _as_told(got[name], want, layout, has_steps=_has_steps(stack, name))
        if have is None:
            return None
        found.append((relative_difference(have, want), name))
    return max(found)


def _state_as_told(have: torch.Tensor, want: torch.Tensor, layout: str, column: StateColumn) -> torch.Tensor | None:
    # [layers, B, *features] or [B, *features]; of one layer without its axis, as a cell has it.
    forms = [have.squeeze(column.axis), have] if layout == "[T, ...]" else [have]
    forms += [form.squeeze(0) for form in forms if column.layers == 1]
    return next((form for form in forms if form.shape == want.shape), None)


def _as_told(have: torch.Tensor, want: torch.Tensor, layout: str, *, has_steps: bool) -> torch.Tensor | None:
    # What the graph gives, as the file has it: of every step in its layout, or of the last.
    forms = [have]
    if has_steps:
        every = have.transpose(0, 1) if layout == "[B, T, ...]" else have
        forms = [every, have[-1]]
    if layout == "[T, ...]":
        forms += [form.squeeze(1) if has_steps and form.ndim == have.ndim else form.squeeze(0) for form in forms]
    return next((form for form in forms if form.shape == want.shape), None)
