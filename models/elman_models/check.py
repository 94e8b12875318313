"""What a bundle is, in a few plain lines: what `elman-server check` and `pack` print."""

from math import prod

from elman_models.spec import Cell, HandOffSpec, ModelSpec, Precision, StateFromSpec

_CELLS = {Cell.RNN_TANH: "RNN (tanh)", Cell.RNN_RELU: "RNN (ReLU)", Cell.LSTM: "LSTM", Cell.GRU: "GRU"}


def describe(spec: ModelSpec, weights_bytes: int | None = None) -> str:
    """Several lines `what: value`, without a newline at the end.

    Args:
        spec: the model.
        weights_bytes: of its parameters as loaded (`Stack.weights_bytes`); None: as float32.
    """
    num_parameters = sum(prod(shape) for shape in spec.parameter_shapes().values())
    loaded_bytes = 4 * num_parameters if weights_bytes is None else weights_bytes
    lines = {
        "model": f"{spec.name}, version {spec.version}",
        "description": spec.description,
        "stack": _stack(spec),
        "sizes": _sizes(spec),
        "embedding": _embedding(spec),
        "head": _head(spec),
        "parameters": f"{num_parameters:,}, {loaded_bytes / 1e6:.2f} MB loaded",
        "input": _input(spec),
        "output": f"[T, B, {spec.output_size}] float32",
        "state": _state(spec),
        "hand-off": hand_off_in_words(spec.hand_off),
        "precision": "" if spec.precision is Precision.FLOAT32 else f"{spec.precision} where it is faster",
        "sessions": "yes" if spec.keeps_sessions else "no: bidirectional, Infer only",
    }
    named = [(what, value) for what, value in lines.items() if value]
    named += [("assumed", assumption) for assumption in assumptions(spec)]
    return "\n".join(f"{what + ':':<13}{value}" for what, value in named)


def hand_off_in_words(hand_off: HandOffSpec | None) -> str:
    """How sessions begin from another model's state; empty where the model does not say."""
    return "; ".join(_made(name, one) for name, one in (hand_off or {}).items())


def _made(name: str, one: StateFromSpec) -> str:
    joined = {"keep": "", "concatenate": ", directions concatenated", "sum": ", directions added"}[one.directions]
    layers = f", layers {', '.join(map(str, one.layers))}" if one.layers else ""
    bias = "" if one.linear is None or one.linear.bias else " without bias"
    linear = f", linear of {one.linear.in_features}{bias}" if one.linear else ""
    return f"{name} from {one.state or name}{joined}{layers}{linear}{f', {one.activation}' if one.activation else ''}"


def assumptions(spec: ModelSpec) -> list[str]:
    """What weights cannot tell, and a model of that spec therefore takes for granted; a line each."""
    module = {Cell.LSTM: "LSTM", Cell.GRU: "GRU"}.get(spec.cell, "RNN")
    before, after = "the embedding" if spec.embedding else "the input", "the head" if spec.head else "the stack"
    lines = [
        f"the stack is torch.nn.{module} (or its cell), beginning at zeros; dropout is off",
        f"no activation, scaling or normalisation between {before} and the stack",
    ]
    if spec.head:
        lines.append("no activation, normalisation or residual before the head, which reads each output, not h_n")
    lines.append(f"no activation after {after}, and no softmax")
    if spec.embedding and not spec.head and spec.stack_output_size == spec.embedding.embedding_dim:
        lines.append("no head tied to the embedding, which a file of weights may leave out")
    return lines


def _stack(spec: ModelSpec) -> str:
    layers = f"{spec.num_layers} layer{'s' if spec.num_layers > 1 else ''}"
    directions = "bidirectional" if spec.bidirectional else "one direction"
    return f"{_CELLS[spec.cell]}, {layers}, {directions}, {'with' if spec.bias else 'no'} bias"


def _sizes(spec: ModelSpec) -> str:
    projection = f"projected to {spec.proj_size}" if spec.proj_size else "no projection"
    return f"input {spec.input_size}, hidden {spec.hidden_size}, {projection}"


def _embedding(spec: ModelSpec) -> str:
    table = spec.embedding
    return f"{table.num_embeddings} ids to vectors of {table.embedding_dim}" if table else "none"


def _head(spec: ModelSpec) -> str:
    if spec.head is None:
        return "none"
    bias = "with" if spec.head.bias else "no"
    return f"linear, {spec.stack_output_size} to {spec.head.out_features}, {bias} bias"


def _input(spec: ModelSpec) -> str:
    if spec.embedding:
        return f"[T, B] int64, ids in [0, {spec.embedding.num_embeddings})"
    return f"[T, B, {spec.input_size}] float32"


def _state(spec: ModelSpec) -> str:
    h = f"h_n [{spec.state_layers}, B, {spec.state_size}]"
    c = f", c_n [{spec.state_layers}, B, {spec.hidden_size}]" if spec.has_cell_state else ""
    return f"{4 * spec.state_numel:,} bytes per session: {h}{c} float32"
