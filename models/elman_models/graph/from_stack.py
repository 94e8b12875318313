"""Format 1 as a graph: embedding, stack, head."""

from elman_models.graph.spec import GraphSpec, InputSpec, Kind, Node, OutputSpec, StateSpec
from elman_models.graph.value import DType
from elman_models.spec import ModelSpec

INPUT, OUTPUT = "input", "output"


def graph_of(spec: ModelSpec) -> GraphSpec:
    """The graph of a stack: input `input`, output `output`, states `h` and `c`; its tensors have the same names."""
    nodes = [_embedding(spec)] if spec.embedding else []
    nodes.append(_stack(spec, nodes[-1].name if nodes else INPUT))
    if spec.head:
        nodes.append(_head(spec))
    return GraphSpec(
        **spec.model_dump(include={"name", "version", "description", "metadata", "precision", "hand_off"}),
        kind=Kind.WHOLE if spec.bidirectional else Kind.STREAMING,
        inputs=(_input(spec),),
        states=_states(spec),
        nodes=tuple(nodes),
        outputs=(OutputSpec(name=OUTPUT, value=nodes[-1].name),),
    )


def _input(spec: ModelSpec) -> InputSpec:
    if spec.embedding:
        return InputSpec(name=INPUT, dtype=DType.INT64, num_embeddings=spec.embedding.num_embeddings)
    return InputSpec(name=INPUT, features=spec.input_features)


def _states(spec: ModelSpec) -> tuple[StateSpec, ...]:
    h = StateSpec(name="h", features=(spec.state_size,), layers=spec.state_layers)
    c = StateSpec(name="c", features=(spec.hidden_size,), layers=spec.state_layers)
    return (h, c) if spec.has_cell_state else (h,)


def _embedding(spec: ModelSpec) -> Node:
    parameters = spec.embedding.model_dump() if spec.embedding else {}
    weights = {"weight": "embedding.weight"}
    return Node(name="embedding", op="embedding", inputs=(INPUT,), parameters=parameters, weights=weights)


def _stack(spec: ModelSpec, input: str) -> Node:
    names = ("hidden_size", "num_layers", "bias", "bidirectional", "proj_size")
    weights = {name.removeprefix("rnn."): name for name in spec.parameter_shapes() if name.startswith("rnn.")}
    states = {"h": "h", "c": "c"} if spec.has_cell_state else {"h": "h"}
    parameters = spec.model_dump(include=set(names))
    return Node(name="rnn", op=spec.cell.value, inputs=(input,), parameters=parameters, weights=weights, states=states)


def _head(spec: ModelSpec) -> Node:
    has_bias = spec.head is not None and spec.head.bias
    weights = {"weight": "head.weight"} | ({"bias": "head.bias"} if has_bias else {})
    size = spec.output_size
    return Node(name="head", op="linear", inputs=("rnn",), parameters={"out_features": size}, weights=weights)
