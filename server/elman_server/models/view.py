"""From a spec to what the rooms above the model must know of it."""

from functools import singledispatch

import numpy as np

from elman_models.graph.operations.recurrences import Recurrence
from elman_models.graph.spec import GraphSpec
from elman_models.graph.spec import InputSpec as GraphInput
from elman_models.graph.value import DType, Per
from elman_models.spec import ModelSpec
from elman_server.exchange.model_view import F32, I64, ModelView, StepRecord, TensorField


@singledispatch
def view_of(spec: object) -> ModelView:
    """The view of a model of either format."""
    raise TypeError(f"expected a spec, got {type(spec).__name__}")


@view_of.register
def _of_stack(spec: ModelSpec) -> ModelView:
    ids = spec.embedding.num_embeddings if spec.embedding else 0
    h = TensorField("h", F32, (spec.state_size,), layers=spec.state_layers)
    c = TensorField("c", F32, (spec.hidden_size,), layers=spec.state_layers)
    return ModelView(
        input=StepRecord([TensorField("input", I64 if ids else F32, spec.input_features, num_embeddings=ids)]),
        output=StepRecord([TensorField("output", F32, (spec.output_size,))]),
        states=(h, c) if spec.has_cell_state else (h,),
        context=(),
        has_stack_state=True,
        needs_whole_sequences=spec.bidirectional,
    )


@view_of.register
def _of_graph(spec: GraphSpec) -> ModelView:
    values = spec.inferred().values
    outputs = []
    operations = {node.name: node.op for node in spec.nodes}
    for output in spec.outputs:
        value, per_row = values[output.value], values[output.value].per is not Per.STEP
        dtype = _dtype(value.dtype)
        outputs.append(
            TensorField(
                output.name,
                dtype,
                value.features,
                last_only=output.last_only or per_row,
                per_row=per_row,
                is_probability=operations.get(output.value) == "softmax",
            )
        )
    return ModelView(
        input=StepRecord([_input(one) for one in spec.inputs]),
        output=StepRecord(outputs),
        states=tuple(
            TensorField(one.name, _dtype(DType(one.dtype)), one.features, one.num_embeddings or 0, one.layers or 0)
            for one in spec.states
        ),
        context=tuple(_input(one) for one in spec.context),
        has_stack_state=_has_stack_state(spec),
        needs_whole_sequences=not spec.keeps_sessions,
        computed_starts=tuple(spec.computed_starts),
    )


def _input(one: GraphInput) -> TensorField:
    return TensorField(one.name, _dtype(DType(one.dtype)), one.features, num_embeddings=one.num_embeddings or 0)


def _dtype(dtype: DType) -> np.dtype[np.float32] | np.dtype[np.int64]:
    return F32 if dtype is DType.FLOAT32 else I64


def _has_stack_state(spec: GraphSpec) -> bool:
    # All states are those of one stack, h before c.
    carried = [
        [node.states[own] for own in ("h", "c") if own in node.states]
        for node, operation in zip(spec.nodes, spec.inferred().operations, strict=True)
        if isinstance(operation, Recurrence)
    ]
    return [[one.name for one in spec.states]] == [names for names in carried if names]
