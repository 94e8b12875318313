"""Held against itself: a graph's names, shapes, tensors and states, before any weight is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from elman_models.graph.operations import operation_of
from elman_models.graph.operations.operation import Operation, StateShape, Weight
from elman_models.graph.value import MAX_NUMEL, DType, Per, Value
from elman_models.spec import hand_off_shapes

if TYPE_CHECKING:
    from elman_models.graph.spec import GraphSpec, Node, StateSpec

MAX_WEIGHTS_BYTES = 1 << 34
"""Of all tensors, loaded: a larger file is not what this serves."""
MAX_VALUES_NUMEL = 1 << 26
"""Numbers of all values at one time step: what constants alone may take, before any row comes."""
MAX_STATE_NUMEL = 1 << 24
"""Numbers of one session's state and context."""


@dataclass(frozen=True)
class Inferred:
    """What follows from a spec."""

    values: Mapping[str, Value]
    """By reference: inputs, context, states with `next`, every result of every node (`node` and `node:result`)."""
    operations: tuple[Operation, ...]
    """Of the nodes, in their order."""
    tensors: Mapping[str, Weight]
    """Of the file, by name."""


def infer(spec: GraphSpec) -> Inferred:
    """Every value's shape, every tensor's.

    Raises:
        ValueError: the spec contradicts itself; begins with the field, `nodes.NAME: ...`.
    """
    _check_names(spec)
    _check_order(spec)
    found = _Inference(spec)
    for node in spec.nodes:
        found.add(node)
    found.finish()
    return Inferred(found.values, tuple(found.operations), found.tensors)


def _check_names(spec: GraphSpec) -> None:
    seen: dict[str, str] = {}
    for group, members in _members(spec).items():
        for name in members:
            if name in seen:
                raise ValueError(f"{group}.{name}: a name used twice, also in {seen[name]}")
            seen[name] = group
    names = [output.name for output in spec.outputs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"outputs.{name}: a name used twice")


def _members(spec: GraphSpec) -> dict[str, list[str]]:
    return {
        "inputs": [one.name for one in spec.inputs],
        "context": [one.name for one in spec.context],
        "states": [one.name for one in spec.states],
        "nodes": [one.name for one in spec.nodes],
    }


def _check_order(spec: GraphSpec) -> None:
    """Each node after those that it needs; of others it is said whether it is a cycle."""
    nodes = {node.name: node for node in spec.nodes}
    known: set[str] = set()
    for node in spec.nodes:
        for reference in node.inputs:
            name = reference.partition(":")[0]
            if name in nodes and name not in known:
                cycle = _path(nodes, name, node.name)
                if cycle:
                    raise ValueError(f"nodes.{node.name}: a cycle: {' <- '.join([node.name, *cycle])}")
                raise ValueError(f"nodes.{node.name}: its input {name} stands after it")
        known.add(node.name)


def _path(nodes: Mapping[str, Node], begin: str, end: str) -> list[str]:
    """From `begin` by inputs to `end`; empty where there is none."""
    came_from: dict[str, str] = {begin: ""}
    waiting = [begin]
    while waiting:
        name = waiting.pop()
        if name == end:
            path = [name]
            while came_from[path[0]]:
                path.insert(0, came_from[path[0]])
            return path
        for reference in nodes[name].inputs:
            before = reference.partition(":")[0]
            if before in nodes and before not in came_from:
                came_from[before] = name
                waiting.append(before)
    return []


class _Inference:
    """Node by node."""

    def __init__(self, spec: GraphSpec) -> None:
        self._spec = spec
        self._states = {state.name: state for state in spec.states}
        self._carried: dict[str, str] = {}  # state to the node that carries it
        self.values: dict[str, Value] = {i.name: i.value(Per.STEP) for i in spec.inputs}
        self.values |= {i.name: i.value(Per.ROW) for i in spec.context}
        self.values |= {
            s.name: Value(s.features, DType(s.dtype), Per.STEP, s.num_embeddings) for s in spec.states if s.next
        }
        self.operations: list[Operation] = []
        self.tensors: dict[str, Weight] = {}
        self._numel = sum(value.numel for value in self.values.values())
        for name, value in self.values.items():
            _check_size(name, value)

    def add(self, node: Node) -> None:
        """One node, whose inputs are known."""
        try:
            inputs = [self._value(reference) for reference in node.inputs]
            operation = operation_of(node.op, node.parameters)
            _check_arity(operation, len(inputs))
            results = operation.infer(inputs)
            self._take_weights(node, operation.weights(inputs))
            self._take_states(node, operation.states(inputs), len(inputs))
            self._check_kind(operation)
            for value in results:
                _check_size("result", value)
        except ValueError as error:
            raise ValueError(f"nodes.{node.name} ({node.op}): {error}") from error
        self.operations.append(operation)
        self._numel += sum(value.numel for value in results)
        self.values[node.name] = results[0]
        self.values |= {f"{node.name}:{name}": value for name, value in zip(operation.results, results, strict=True)}

    def finish(self) -> None:
        """What concerns the graph as a whole."""
        self._check_states()
        for name, shape in hand_off_shapes(self._spec.hand_off, self._spec.state_sizes).items():
            self._take_tensor(name, Weight(shape), "hand_off")
        for output in self._spec.outputs:
            value = self._named(f"outputs.{output.name}", output.value)
            if value.dtype is DType.BOOL or value.per is Per.MODEL:
                raise ValueError(f"outputs.{output.name}: expected float32 or int64 per step or row, got {value}")
        self._check_needed()
        _check_total("all values of a step, in numbers", self._numel, MAX_VALUES_NUMEL)
        _check_total("tensors, in bytes", self._weights_bytes(), MAX_WEIGHTS_BYTES)
        state = sum(s.numel for s in self._spec.states) + sum(prod(c.features) for c in self._spec.context)
        _check_total("a session's state, in numbers", state, MAX_STATE_NUMEL)

    def _weights_bytes(self) -> int:
        return sum(prod(weight.shape) * (8 if weight.dtype is DType.INT64 else 4) for weight in self.tensors.values())

    def _value(self, reference: str) -> Value:
        if reference not in self.values:
            self._refuse(reference)
        if self._spec.kind != "whole" and reference.partition(":")[2] in ("h_n", "c_n"):
            raise ValueError(f"input {reference}: is known at the end of a sequence, in a whole graph alone")
        return self.values[reference]

    def _named(self, where: str, reference: str) -> Value:
        try:
            return self._value(reference)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error

    def _refuse(self, reference: str) -> None:
        name, _, result = reference.partition(":")
        if name in self._states:
            raise ValueError(f"input {name}: a node carries that state; only one with `next` is a value")
        if result and name in self.values:
            raise ValueError(f"input {reference}: {name} has no result {result!r}")
        raise ValueError(f"input {reference}: there is no such input, state or node")

    def _take_weights(self, node: Node, wanted: Mapping[str, Weight]) -> None:
        missing = [name for name, weight in wanted.items() if not weight.is_optional and name not in node.weights]
        extra = [name for name in node.weights if name not in wanted]
        if missing or extra:
            said = [f"missing {', '.join(missing)}"] * bool(missing) + [f"unknown {', '.join(extra)}"] * bool(extra)
            raise ValueError(f"weights: {'; '.join(said)}; known are {', '.join(wanted) or 'none'}")
        for name, tensor in node.weights.items():
            self._take_tensor(tensor, wanted[name], f"weights.{name}")

    def _take_tensor(self, tensor: str, weight: Weight, where: str) -> None:
        known = self.tensors.setdefault(tensor, Weight(weight.shape, weight.dtype))
        if (known.shape, known.dtype) != (weight.shape, weight.dtype):
            raise ValueError(
                f"{where}: tensor {tensor} is {known.dtype} {list(known.shape)} elsewhere, "
                f"expected {weight.dtype} {list(weight.shape)}"
            )

    def _take_states(self, node: Node, wanted: Mapping[str, StateShape], num_inputs: int) -> None:
        if self._spec.kind == "whole":
            if not node.states:
                return  # rows begin at zeros or at further inputs, and nobody asks what they end with
            self._check_ends(node, wanted, num_inputs)
        elif num_inputs > 1 and "h" in wanted:
            raise ValueError("inputs: an initial state is an input in whole graphs; here it is `initial` of the state")
        if set(wanted) != set(node.states):
            raise ValueError(f"states: expected {', '.join(wanted) or 'none'}, got {', '.join(node.states) or 'none'}")
        for name, shape in wanted.items():
            self._take_state(node, node.states[name], shape)

    def _check_ends(self, node: Node, wanted: Mapping[str, StateShape], num_inputs: int) -> None:
        """Of a whole graph, whose states are what rows end with."""
        if "h" not in wanted:
            raise ValueError("states: in a whole graph they are what a recurrence ends with, and this is none")
        learned = [n for n in node.states.values() if n in self._states and self._states[n].initial is not None]
        if num_inputs > 1 and learned:
            raise ValueError(f"states: {learned[0]}: begins at an input of the node, and has an `initial`, too")

    def _take_state(self, node: Node, name: str, shape: StateShape) -> None:
        state = self._states.get(name)
        if state is None:
            raise ValueError(f"states: there is no state {name}")
        if name in self._carried or state.next is not None:
            raise ValueError(f"states: {name} is already carried by {self._carried.get(name, 'its `next`')}")
        if (state.layers, state.features, state.dtype) != (shape.layers, shape.features, DType.FLOAT32):
            raise ValueError(
                f"states: {name}: expected float32 features {list(shape.features)} and layers {shape.layers}, "
                f"got {state.dtype} {list(state.features)} and {state.layers}"
            )
        self._carried[name] = node.name

    def _check_kind(self, operation: Operation) -> None:
        if operation.looks_ahead and self._spec.kind != "whole":
            raise ValueError(f"looks ahead in time, which only a graph of kind whole may, not one of {self._spec.kind}")

    def _check_states(self) -> None:
        for state in self._spec.states:
            if state.initial is not None:
                self._take_tensor(state.initial, Weight(state.shape, DType(state.dtype)), f"states.{state.name}")
            if state.next is not None:
                self._check_next(state)
            elif state.name not in self._carried:
                raise ValueError(f"states.{state.name}: no node carries it, and it has no `next`")
        has_next = any(state.next for state in self._spec.states)
        if has_next != (self._spec.kind == "step"):
            raise ValueError(f"kind: {self._spec.kind}, but {'a' if has_next else 'no'} state has a `next`, as of step")

    def _check_next(self, state: StateSpec) -> None:
        where = f"states.{state.name}"
        value = self._named(where, state.next or "")
        if (value.features, value.dtype) != (state.features, DType(state.dtype)):
            raise ValueError(f"{where}: expected next of {state.dtype} {list(state.features)}, got {value}")
        if value.per is not Per.STEP:
            raise ValueError(f"{where}: expected next per step, got {value}")
        if state.num_embeddings and (value.bound is None or value.bound > state.num_embeddings):
            raise ValueError(f"{where}: next is not known to be in [0, {state.num_embeddings}); a `clamp` makes it so")

    def _check_needed(self) -> None:
        """Whether every input, state and node has a part in some output."""
        needed = {reference.partition(":")[0] for reference in self._ends()}
        for node in reversed(self._spec.nodes):
            if node.name in needed:
                needed |= {reference.partition(":")[0] for reference in node.inputs} | set(node.states.values())
        self._raise_unneeded(needed)

    def _ends(self) -> Iterable[str]:
        yield from (output.value for output in self._spec.outputs)
        yield from (state.next for state in self._spec.states if state.next)

    def _raise_unneeded(self, needed: set[str]) -> None:
        for group, members in _members(self._spec).items():
            for name in members:
                if name not in needed and name not in self._carried:
                    raise ValueError(f"{group}.{name}: nobody uses it")


def _check_arity(operation: Operation, num_inputs: int) -> None:
    least, most = operation.arity
    if not least <= num_inputs <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise ValueError(f"inputs: expected {wanted}, got {num_inputs}")


def _check_size(what: str, value: Value) -> None:
    _check_total(f"{what} {list(value.features)}, in numbers", value.numel, MAX_NUMEL)


def _check_total(what: str, got: int, limit: int) -> None:
    if got > limit:
        raise ValueError(f"{what}: expected at most {limit}, got {got}")
