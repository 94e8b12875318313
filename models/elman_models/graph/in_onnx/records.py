"""An ONNX graph as plain records (operators: ONNX opset 18), and one node of a graph that is to become some of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from elman_models.graph.operations.operation import Operation
from elman_models.graph.value import Value
from elman_models.plans.ort_cells import Attribute

Array = NDArray[np.float32] | NDArray[np.int64]


class NotCoveredError(ValueError):
    """What a graph has that is not said in ONNX, in words."""


class OnnxNode(NamedTuple):
    """One operator on named tensors."""

    op: str
    inputs: tuple[str, ...]
    """Empty: one that is left out."""
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


class Tensor(NamedTuple):
    """An input or output of the whole."""

    name: str
    shape: tuple[int | str, ...]
    """A size, or the name of one."""
    is_ids: bool
    """int64, not float32."""


class OnnxGraph:
    """Nodes in order, and the tensors that they are given."""

    def __init__(self) -> None:
        """An empty one."""
        self.nodes: list[OnnxNode] = []
        self.weights: dict[str, Array] = {}
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self._shared: dict[tuple[object, ...], str] = {}

    def add(self, op: str, *inputs: str, **attributes: Attribute) -> str:
        """A node of one output; gives its name."""
        return self.several(op, 1, *inputs, **attributes)[0]

    def several(self, op: str, count: int, *inputs: str, **attributes: Attribute) -> tuple[str, ...]:
        """A node of `count` outputs; gives their names."""
        names = tuple(f"{op}/{len(self.nodes)}/{index}" for index in range(count))
        self.nodes.append(OnnxNode(op, inputs, names, attributes))
        return names

    def tensor(self, tensor: torch.Tensor) -> str:
        """A weight, float32 or int64; gives its name."""
        return self.array(tensor.detach().contiguous().numpy())

    def array(self, array: Array) -> str:
        """Likewise, of NumPy's."""
        name = f"weight/{len(self.weights)}"
        self.weights[name] = array
        return name

    def number(self, value: float) -> str:
        """A float32 without axes; one for all who want it."""
        return self._once(("number", float(value)), np.array(value, np.float32))

    def ints(self, *values: int) -> str:
        """An int64 of one axis; one for all who want it."""
        return self._once(("ints", *values), np.array(values, np.int64))

    def _once(self, key: tuple[object, ...], array: Array) -> str:
        if key not in self._shared:
            self._shared[key] = self.array(array)
        return self._shared[key]

    def shape(self, features: Sequence[int]) -> str:
        """Of a tensor [N, *features], for a Reshape."""
        return self.ints(-1, *features)

    @property
    def rows(self) -> str:
        """[1] how many rows there are: of the first input that says so.

        Raises:
            NotCoveredError: none does; but then no node asks.
        """
        for name, shape, _ in self.inputs:
            if "rows" in shape:
                axis = shape.index("rows")
                return self._shared_node("Shape", name, start=axis, end=axis + 1)
        raise NotCoveredError("no state or context says how many rows there are")

    def by_time(self, tensor: str, features: Sequence[int]) -> str:
        """[steps, rows, *features] of `tensor` [N, *features]."""
        shape = self._shared_node("Concat", self.ints(-1), self.rows, self.ints(*features), axis=0)
        return self.add("Reshape", tensor, shape)

    def steps_and_rows(self) -> str:
        """[2] how many of both there are."""
        name, (_, *features), _ = next(one for one in self.inputs if one.shape[0] == "N")
        numel = int(np.prod([size for size in features if isinstance(size, int)], dtype=np.int64))
        shape = self._shared_node("Concat", self.ints(-1), self.rows, self.ints(numel), axis=0)
        return self._shared_node("Shape", self._shared_node("Reshape", name, shape), start=0, end=2)

    def _shared_node(self, op: str, *inputs: str, **attributes: int) -> str:
        key = (op, *inputs, *attributes.items())
        if key not in self._shared:
            self._shared[key] = self.add(op, *inputs, **attributes)
        return self._shared[key]


@dataclass(frozen=True)
class Said:
    """A node of a graph, as it is to be said."""

    graph: OnnxGraph
    operation: Operation
    inputs: tuple[str, ...]
    """Tensors: of a value per step [N, *features], per row [rows, *features], of a constant [*features]."""
    values: tuple[Value, ...]
    """Of the inputs."""
    weights: Mapping[str, torch.Tensor] = field(default_factory=dict)
    states: tuple[str, ...] = ()
    """As they are before a step."""
    rnn: nn.RNNBase | None = None
    """Of a recurrence."""

    @property
    def result(self) -> Value:
        """What its first result is."""
        return self.operation.infer(self.values)[0]

    def add(self, op: str, *inputs: str, **attributes: Attribute) -> tuple[str]:
        """A node of one output, as a result."""
        return (self.graph.add(op, *inputs, **attributes),)

    def reshaped(self, index: int, features: Sequence[int]) -> str:
        """An input with other features."""
        value = self.values[index]
        if value.features == tuple(features):
            return self.inputs[index]
        shape = self.graph.shape(features) if value.has_batch else self.graph.ints(*features)
        return self.graph.add("Reshape", self.inputs[index], shape)

    def require(self, condition: bool, what: str) -> None:
        """Nothing where `condition` holds.

        Raises:
            NotCoveredError: it does not; `what` is not said.
        """
        if not condition:
            raise NotCoveredError(what)
