"""A graph as it is put together: nodes with their weights, constants folded."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import torch

from elman_models.export.traced import Role, Traced, constant
from elman_models.graph.operations import operation_of
from elman_models.graph.operations.operation import Operation
from elman_models.graph.spec import Node, Parameter, StateSpec
from elman_models.graph.value import Per, Value

Parameters = Mapping[str, Parameter]


class Builder:
    """Nodes, tensors and states so far."""

    def __init__(self, is_whole: bool, kept: Collection[str] = ()) -> None:
        self.is_whole = is_whole
        self._kept = frozenset(kept)
        """Labels of stacks: names that nothing else gets, so that `rnn.h` is of `self.rnn`."""
        self.nodes: list[Node] = []
        self.tensors: dict[str, torch.Tensor] = {}
        self.states: list[StateSpec] = []
        self.origins: dict[str, str] = {}
        """The author's line of each node."""
        self.names: set[str] = set()
        self._made: dict[tuple[str, str], Traced] = {}

    def emit(
        self,
        op: str,
        inputs: Sequence[Traced],
        roles: Sequence[Role],
        parameters: Parameters | None = None,
        weights: Mapping[str, Traced] | None = None,
        label: str = "",
        origin: str = "",
    ) -> Traced:
        """A node, of whose results the first is wanted; what is known already is computed at once."""
        return self.emit_all(op, inputs, roles, parameters, weights, label, origin)[0]

    def emit_all(
        self,
        op: str,
        inputs: Sequence[Traced],
        roles: Sequence[Role],
        parameters: Parameters | None = None,
        weights: Mapping[str, Traced] | None = None,
        label: str = "",
        origin: str = "",
    ) -> tuple[Traced, ...]:
        """A node's results, all of the same roles.

        Raises:
            ValueError: the operation does not take that.
        """
        operation = operation_of(op, dict(parameters or {}))
        last_only = any(given.last_only for given in inputs)
        if inputs and all(given.constant is not None for given in inputs) and not operation.needs_sizes:
            return tuple(replace(t, roles=tuple(roles)) for t in _folded(operation, inputs, weights or {}))
        operands = self._operands(inputs)
        results = operation.infer([given.value for given in operands])
        name = self.new_name(label or op, is_own=bool(label))
        self.add(
            Node(
                name=name,
                op=op,
                inputs=tuple(given.reference for given in operands),
                parameters=dict(parameters or {}),
                weights={key: self.tensor(given, f"{name}.{key}") for key, given in (weights or {}).items()},
            ),
            origin,
        )
        return tuple(
            Traced(value, tuple(roles), result_name(name, operation, index), last_only=last_only)
            for index, value in enumerate(results)
        )

    def add(self, node: Node, origin: str) -> None:
        """A node as it is."""
        self.nodes.append(node)
        self.origins[node.name] = origin

    def new_name(self, label: str, *, is_own: bool = True) -> str:
        """One that is not in use, like `label`; `is_own`: whether what is named is the part of that label."""
        base = re.sub(r"[^A-Za-z0-9_.-]+", "_", label).strip(".-")[:100] or "node"
        name, number = base, 1
        while name in self.names or (name in self._kept and not (is_own and name == label)):
            name, number = f"{base}_{number}", number + 1
        self.names.add(name)
        return name

    def tensor(self, given: Traced, name: str) -> str:
        """The name in the file of a constant, which is put there."""
        if given.constant is None:
            raise ValueError("weights that depend on the input")
        chosen = given.tensor_name or name
        known = self.tensors.get(chosen)
        if known is not None and not (known.shape == given.constant.shape and torch.equal(known, given.constant)):
            chosen = name
        self.tensors[chosen] = given.constant
        return chosen

    def materialised(self, given: Traced) -> Traced:
        """A constant as a node; anything else as it is."""
        if given.constant is None:
            return given
        key = ("constant", given.tensor_name or str(id(given.constant)))
        made = self._made.get(key)
        if made is None:
            name = self.new_name(given.tensor_name or "constant", is_own=False)
            parameters: Parameters = {"features": given.features, "dtype": str(given.dtype)}
            tensor = self.tensor(given, f"{name}.value")
            self.add(Node(name=name, op="constant", parameters=dict(parameters), weights={"value": tensor}), "")
            made = self._made[key] = replace(given, reference=name)
        return replace(given, reference=made.reference, constant=None)

    def each_step(self, given: Traced) -> Traced:
        """What there is one of for each row, given to every step."""
        made = self._made.get(("each_step", given.reference))
        if made is None:
            name = self.new_name(f"{given.reference.replace(':', '.')}.each_step", is_own=False)
            self.add(Node(name=name, op="each_step", inputs=(given.reference,)), "")
            made = self._made["each_step", given.reference] = replace(
                given, value=replace(given.value, per=Per.STEP), reference=name
            )
        return replace(made, roles=given.roles)

    def _operands(self, inputs: Sequence[Traced]) -> list[Traced]:
        operands = [self.materialised(given) for given in inputs]
        if any(given.value.per is Per.STEP for given in operands):
            return [self.each_step(given) if given.value.per is Per.ROW else given for given in operands]
        return operands


def result_name(name: str, operation: Operation, index: int) -> str:
    """The reference of a node's result."""
    return name if index == 0 else f"{name}:{operation.results[index]}"


def _folded(operation: Operation, inputs: Sequence[Traced], weights: Mapping[str, Traced]) -> tuple[Traced, ...]:
    values: list[Value] = [given.value for given in inputs]
    tensors = {name: given.constant for name, given in weights.items() if given.constant is not None}
    operation.infer(values)
    with torch.no_grad():
        result = operation.bind(values, tensors)(*(given.constant for given in inputs))
    return tuple(constant(tensor) for tensor in (result if isinstance(result, tuple) else (result,)))
