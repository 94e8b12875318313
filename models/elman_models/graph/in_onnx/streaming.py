"""A streaming graph as an ONNX graph: inputs and states in, all outputs and the states after a step out."""

from collections.abc import Callable, Mapping

import torch

from elman_models.graph.compile import Compiler
from elman_models.graph.in_onnx import elementwise, features, over_time
from elman_models.graph.in_onnx.records import NotCoveredError, OnnxGraph, Said, Tensor
from elman_models.graph.spec import GraphSpec, InputSpec, Kind, Node, StateSpec
from elman_models.graph.value import DType, Per, Value
from elman_models.spec import Precision

EMITTERS = elementwise.EMITTERS | features.EMITTERS | over_time.EMITTERS
MAX_WEIGHTS_BYTES = 1 << 30
"""Beyond this a graph stays out of onnxruntime: a protobuf message ends at 2 GiB."""


def streaming_graph(compiler: Compiler) -> OnnxGraph:
    """The graph of what `compiler` has bound, with its weights.

    Inputs in order: the graph's inputs [N, *features], N = steps x rows, step 0 of all rows first; states
    [rows, *features] or [layers, rows, *features]; context [rows, *features]. Outputs: the graph's, per step
    [N, *features] or per row [rows, *features]; then the states after the last step.

    Raises:
        NotCoveredError: something of it is not said in ONNX.
    """
    spec = compiler.spec
    _check_whole(spec, compiler.weights_bytes)
    saying = _Saying(compiler)
    for node in spec.nodes:
        saying.node(node)
    saying.outputs()
    return saying.graph


def _check_whole(spec: GraphSpec, weights_bytes: int) -> None:
    if spec.kind is not Kind.STREAMING:
        raise NotCoveredError(f"a graph of kind {spec.kind}")
    if spec.precision is not Precision.FLOAT32:
        raise NotCoveredError(f"precision {spec.precision}")
    if weights_bytes > MAX_WEIGHTS_BYTES:
        raise NotCoveredError(f"weights of {weights_bytes} bytes, of which there may be {MAX_WEIGHTS_BYTES}")


class _Saying:
    """Node by node."""

    def __init__(self, compiler: Compiler) -> None:
        self.graph = OnnxGraph()
        self._compiler = compiler
        self._spec = compiler.spec
        self._found = compiler.spec.inferred()
        self._operations = {node.name: one for node, one in zip(self._spec.nodes, self._found.operations, strict=True)}
        self._names: dict[str, str] = {}  # of tensors, by reference
        self._after: dict[str, str] = {}  # of states, after a step
        for name, shape, dtype in self._given():
            self._names[name] = name
            self.graph.inputs.append(Tensor(name, shape, dtype is DType.INT64))

    def _given(self) -> list[tuple[str, tuple[int | str, ...], DType]]:
        states = [(state.name, _state_shape(state), DType(state.dtype)) for state in self._spec.states]
        return [*_inputs("N", self._spec.inputs), *states, *_inputs("rows", self._spec.context)]

    def node(self, node: Node) -> None:
        """One, whose inputs are said. What is computed of constants alone is known already."""
        if self._found.values[node.name].per is Per.MODEL:
            return
        try:
            self._say(node)
        except NotCoveredError as reason:
            raise NotCoveredError(f"node {node.name} ({node.op}): {reason}") from reason

    def _say(self, node: Node) -> None:
        operation = self._operations[node.name]
        values = tuple(self._found.values[reference] for reference in node.inputs)
        _check_dtypes(node.op, values)
        carried = [node.states[name] for name in operation.states(values)]
        weights: Mapping[str, torch.Tensor] = self._compiler.weights.get(node.name, {})
        recurrence = self._compiler.recurrences.get(node.name)
        said = Said(
            self.graph,
            operation,
            tuple(self._tensor(reference) for reference in node.inputs),
            values,
            weights,
            tuple(self._names[state] for state in carried),
            recurrence.rnn if recurrence else None,
        )
        made = _emitter(node.op)(said)
        results, after = (made[: -len(carried)], made[-len(carried) :]) if carried else (made, ())
        self._after |= dict(zip(carried, after, strict=True))
        self._names[node.name] = results[0]
        # In a streaming graph what a recurrence ends with is its state, not a value.
        self._names |= {f"{node.name}:{name}": one for name, one in zip(operation.results, results, strict=False)}

    def _tensor(self, reference: str) -> str:
        if reference not in self._names:  # a constant
            self._names[reference] = self.graph.tensor(self._compiler.constant(reference))
        return self._names[reference]

    def outputs(self) -> None:
        """The ends, under names of their own: an input may be an output, and one value two."""
        for output in self._spec.outputs:
            value = self._found.values[output.value]
            shape = ("N" if value.per is Per.STEP else "rows", *value.features)
            self._end(self._names[output.value], shape, value.dtype is DType.INT64)
        for state in self._spec.states:
            self._end(self._after[state.name], _state_shape(state), state.dtype == DType.INT64)

    def _end(self, tensor: str, shape: tuple[int | str, ...], is_ids: bool) -> None:
        self.graph.outputs.append(Tensor(self.graph.add("Identity", tensor), shape, is_ids))


def _inputs(first: str, inputs: tuple[InputSpec, ...]) -> list[tuple[str, tuple[int | str, ...], DType]]:
    return [(one.name, (first, *one.features), DType(one.dtype)) for one in inputs]


def _state_shape(state: StateSpec) -> tuple[int | str, ...]:
    return ("rows", *state.features) if state.layers is None else (state.layers, "rows", *state.features)


def _emitter(op: str) -> Callable[[Said], tuple[str, ...]]:
    if op not in EMITTERS:
        raise NotCoveredError("an operation that is not said in ONNX")
    return EMITTERS[op]


def _check_dtypes(op: str, values: tuple[Value, ...]) -> None:
    for value in values:
        if value.dtype is not DType.FLOAT32 and op not in features.OF_ANY_DTYPE | {"embedding"}:
            raise NotCoveredError(f"an input of {value.dtype}")
