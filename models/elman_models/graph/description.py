"""What a graph is, in a few plain lines and drawn: what `elman-server check` and `pack` print of it."""

from math import prod

from elman_models.check import hand_off_in_words
from elman_models.graph.drawing import draw, shape_in_words
from elman_models.graph.spec import GraphSpec, Kind
from elman_models.spec import Precision

_KINDS = {
    Kind.STREAMING: "streaming: each step alone, or with what is carried; a sequence can be fed in parts",
    Kind.STEP: "a step, with its state in and out; a sequence can be fed in parts",
    Kind.WHOLE: "whole: it looks ahead, and needs whole sequences",
}


def describe_graph(spec: GraphSpec, weights_bytes: int | None = None) -> str:
    """Several lines `what: value`, then the graph, without a newline at the end.

    Args:
        spec: the model.
        weights_bytes: of its tensors as loaded; None: as float32.
    """
    num_parameters = sum(prod(shape) for shape in spec.parameter_shapes().values())
    loaded_bytes = 4 * num_parameters if weights_bytes is None else weights_bytes
    lines = {
        "model": f"{spec.name}, version {spec.version}",
        "description": spec.description,
        "graph": f"{len(spec.nodes)} nodes, {_KINDS[spec.kind]}",
        "parameters": f"{num_parameters:,}, {loaded_bytes / 1e6:.2f} MB loaded",
        "inputs": ", ".join(f"{one.name} {_words(spec, one.name)}" for one in spec.inputs),
        "context": ", ".join(f"{one.name} {_words(spec, one.name)}" for one in spec.context),
        "outputs": ", ".join(f"{one.name} {_words(spec, one.value)}" for one in spec.outputs),
        "state": _state_in_words(spec),
        "hand-off": hand_off_in_words(spec.hand_off),
        "precision": "" if spec.precision is Precision.FLOAT32 else f"{spec.precision} where it is faster",
        "sessions": "yes" if spec.keeps_sessions else "no: Infer only",
    }
    told = [f"{what + ':':<13}{value}" for what, value in lines.items() if value]
    return "\n".join([*told, "", draw(spec)])


def _state_in_words(spec: GraphSpec) -> str:
    if spec.keeps_sessions:
        return f"{4 * spec.state_numel:,} bytes per session"
    return f"{4 * spec.state_numel:,} bytes per sequence, after its last step: Infer gives and keeps it" * bool(
        spec.states
    )


def _words(spec: GraphSpec, reference: str) -> str:
    value = spec.inferred().values[reference]
    ids = "" if value.bound is None else f", ids in [0, {value.bound})"
    return f"{shape_in_words(value)}{ids}"
