"""A module held against its graph: sequences of several lengths and batches, whole, in chunks, beside others."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from elman_models.comparison import TOLERANCE
from elman_models.export.assembly import Assembled
from elman_models.export.traced import Role
from elman_models.graph.inputs import PackedInputs
from elman_models.graph.stack import GraphStack
from elman_models.graph.state import GraphState
from elman_models.graph.value import DType, Per
from elman_models.layout import batch_sizes

Tensors = dict[str, torch.Tensor]
SHAPES = ((3, 7), (2, 12), (5, 4))
"""Batches and lengths, so that a number that depends on either shows."""


@dataclass(frozen=True)
class Run:
    """Some sequences, and what the module gives for them."""

    inputs: Tensors  # [B, T, *features], of context [B, *features]
    states: Tensors  # of the module's arguments that are states
    expected: Tensors  # [B, T, *features], or [B, *features]
    batch: int
    length: int
    ends: Tensors = field(default_factory=dict)  # by state [layers, B, size], what the module's own stacks end with


@dataclass(frozen=True)
class Differences:
    """The largest, relative to max(1, |y|), by how the bundle was run."""

    whole: float
    chunks: float | None
    """None: a whole graph is not run in chunks."""
    neighbours: float
    where: str

    @property
    def largest(self) -> float:
        """Of all."""
        return max(self.whole, self.chunks or 0.0, self.neighbours)

    def __str__(self) -> str:
        chunks = "" if self.chunks is None else f"in chunks {self.chunks:.1e}, "
        parts = f"whole {self.whole:.1e}, {chunks}beside others {self.neighbours:.1e}"
        return f"largest difference {self.largest:.1e} in {self.where} ({parts})"


def prove(
    assembled: Assembled, run_module: Callable[[int, int], Run], shapes: Sequence[tuple[int, int]]
) -> Differences:
    """How far the graph is from the module."""
    stack = GraphStack(assembled.spec, assembled.weights, torch.device("cpu"))
    runs = [run_module(batch, length) for batch, length in shapes]
    whole = max(_difference(assembled, run, *_stepped(stack, assembled, run, [run.length])) for run in runs)
    chunks = None
    if assembled.spec.keeps_sessions:
        chunks = max(_difference(assembled, run, *_stepped(stack, assembled, run, _chunks(run.length))) for run in runs)
    beside = max(_beside(stack, assembled, runs))
    found = [part for part in (whole, chunks, beside) if part is not None]
    return Differences(whole[0], None if chunks is None else chunks[0], beside[0], max(found)[1])


def _chunks(length: int) -> list[int]:
    lengths: list[int] = []
    while sum(lengths) < length:
        lengths.append(random.randint(1, min(4, length - sum(lengths))))
    return lengths


def _state(stack: GraphStack, assembled: Assembled, run: Run) -> GraphState:
    context = {one.name: run.inputs[one.name] for one in assembled.spec.context}
    state = dict(stack.initial_state(run.batch, context))
    for argument, name in assembled.state_inputs.items():
        state[name] = run.states[argument]
    return GraphState.named(stack.layout, state)


def _stepped(stack: GraphStack, assembled: Assembled, run: Run, lengths: Sequence[int]) -> tuple[Tensors, GraphState]:
    """[B, T, *features] of every output; of what there is one of for a row [B, *features]. And the state after it."""
    state, parts, begin = _state(stack, assembled, run), [], 0
    context = state.tensors[stack.layout.num_states :]
    names = [one.name for one in assembled.spec.inputs]
    for length in lengths:
        data = tuple(run.inputs[name][:, begin : begin + length].transpose(0, 1).flatten(0, 1) for name in names)
        outputs, state = stack.step(PackedInputs(data, np.full(length, run.batch, np.int64)), state)
        state = GraphState(stack.layout, (*state.tensors[: stack.layout.num_states], *context))
        parts.append({name: _unpacked(assembled, name, tensor, run.batch) for name, tensor in outputs.items()})
        begin += length
    outputs = {
        name: torch.cat([part[name] for part in parts], 1) if _per_step(assembled, name) else parts[-1][name]
        for name in parts[0]
    }
    return outputs, state


def _per_step(assembled: Assembled, name: str) -> bool:
    return next(o.traced.value.per for o in assembled.outputs if o.name == name) is Per.STEP


def _unpacked(assembled: Assembled, name: str, tensor: torch.Tensor, batch: int) -> torch.Tensor:
    return tensor.view(-1, batch, *tensor.shape[1:]).transpose(0, 1) if _per_step(assembled, name) else tensor


def _beside(stack: GraphStack, assembled: Assembled, runs: Sequence[Run]) -> list[tuple[float, str]]:
    """All rows of all runs in one ragged batch."""
    order = sorted(runs, key=lambda run: -run.length)
    lengths = np.array([run.length for run in order for _ in range(run.batch)])
    sizes = batch_sizes(lengths)
    spec = assembled.spec
    rows = {one.name: [row for run in order for row in run.inputs[one.name]] for one in spec.inputs}
    data = tuple(
        torch.stack([row[t] for t in range(len(sizes)) for row in rows[o.name] if t < len(row)]) for o in spec.inputs
    )
    states = [_state(stack, assembled, run) for run in order]
    joined = tuple(
        torch.cat(parts, c.axis) for c, *parts in zip(stack.layout.columns, *(s.tensors for s in states), strict=True)
    )
    outputs, after = stack.step(PackedInputs(data, sizes), GraphState(stack.layout, joined))
    found, first = [], 0
    for run in order:
        got = {name: _rows(assembled, name, tensor, sizes, first, run) for name, tensor in outputs.items()}
        found.append(_difference(assembled, run, got, after.part(slice(first, first + run.batch))))
        first += run.batch
    return found


def _rows(
    assembled: Assembled, name: str, tensor: torch.Tensor, sizes: np.ndarray, first: int, run: Run
) -> torch.Tensor:
    if not _per_step(assembled, name):
        return tensor[first : first + run.batch]
    begins = np.cumsum(sizes) - sizes
    steps = [tensor[begin + first : begin + first + run.batch] for begin in begins[: run.length].tolist()]
    return torch.stack(steps, 1)


def _difference(
    assembled: Assembled, run: Run, got: Mapping[str, torch.Tensor], state: GraphState
) -> tuple[float, str]:
    found = []
    for output in assembled.outputs:
        have = got[output.name][:, -1] if output.traced.last_only else got[output.name]
        found.append(_apart(have, run.expected[output.name], output.name))
    found += [_apart(state[name], end, f"state {name}") for name, end in run.ends.items()]
    return max(found)


def _apart(have: torch.Tensor, want: torch.Tensor, name: str) -> tuple[float, str]:
    have, want = have.double(), want.double()
    if want.shape != have.shape:
        return float("inf"), f"{name} (shape {list(have.shape)} against {list(want.shape)})"
    error = (have - want).abs() / want.abs().clamp(min=1)
    error = torch.where(have == want, 0.0, error)
    return float(error.nan_to_num(float("inf"), float("inf")).max()), name


def laid_out(given: torch.Tensor, roles: Sequence[Role], batch: int, length: int) -> torch.Tensor:
    """[B, T, *features] (or [B, *features] where there is no time) in the module's own layout."""
    has_time = Role.TIME in roles
    source = [role for role in (Role.BATCH, Role.TIME) if role is Role.BATCH or has_time]
    order, feature = [], len(source)
    for role in roles:
        if role is Role.UNIT or (role is Role.BATCH and Role.BATCH not in source):
            continue
        if role is Role.FEATURE:
            order.append(feature)
            feature += 1
        else:
            order.append(source.index(role))
    if Role.BATCH not in roles:
        given, order = given[0], [axis - 1 for axis in order]
    result = given.permute(order)
    for axis, role in enumerate(roles):
        if role is Role.UNIT:
            result = result.unsqueeze(axis)
    return result.contiguous()


def read_out(
    given: torch.Tensor, roles: Sequence[Role], batch: int, length: int, features: tuple[int, ...]
) -> torch.Tensor:
    """The module's tensor as [B, T, *features], or [B, *features]."""
    parts = {Role.BATCH_TIME: (Role.BATCH, Role.TIME), Role.TIME_BATCH: (Role.TIME, Role.BATCH)}
    sizes = {Role.BATCH: batch, Role.TIME: length}
    flat: list[Role] = []
    shape, number = [], iter(features)
    for role in roles:
        for part in parts.get(role, (role,)):
            if part is Role.UNIT:
                continue
            flat.append(part)
            shape.append(sizes[part] if part in sizes else next(number))
    given = given.reshape(shape)
    order = [flat.index(role) for role in (Role.BATCH, Role.TIME) if role in flat]
    order += [axis for axis, role in enumerate(flat) if role is Role.FEATURE]
    given = given.permute(order)
    return given if Role.BATCH in flat else given.unsqueeze(0)


def random_like(example: torch.Tensor, shape: Sequence[int], bound: int | None) -> torch.Tensor:
    """Ids below the bound; numbers like the example's."""
    if not example.is_floating_point():
        return torch.randint(0, bound or int(example.max()) + 1, tuple(shape))
    positive = bool((example >= 0).all()) and bool(example.any())
    return torch.rand(*shape) * float(example.abs().max()) if positive else torch.randn(*shape)


__all__ = ["SHAPES", "TOLERANCE", "DType", "Differences", "Run", "laid_out", "prove", "random_like", "read_out"]
