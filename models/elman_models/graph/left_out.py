"""In words: which plans of the precision that a graph asks for its recurrences are left out on a CPU, and why."""

from collections.abc import Iterator

from elman_models.graph.operations.recurrences import Recurrence
from elman_models.graph.recurrent import recurrence_spec
from elman_models.graph.spec import GraphSpec
from elman_models.plans.left_out import left_out
from elman_models.spec import ModelSpec, Precision

NO_RECURRENCE = "is not used: it is of recurrences, and the graph has none that plans run; it runs in float32"


def left_out_of_graph(spec: GraphSpec) -> list[str]:
    """As `left_out`, of a graph: a sentence for each reason, which begins with the nodes that it is of."""
    if spec.precision is Precision.FLOAT32:
        return []
    nodes: dict[str, list[str]] = {}
    stacks = dict(_recurrences(spec))
    for node, stack in stacks.items():
        for sentence in left_out(stack):
            nodes.setdefault(sentence, []).append(node)
    if not stacks:
        return [f"precision {spec.precision} {NO_RECURRENCE}"]
    return [f"{', '.join(of)}: {sentence}" for sentence, of in nodes.items()]


def _recurrences(spec: GraphSpec) -> Iterator[tuple[str, ModelSpec]]:
    found = spec.inferred()
    for node, operation in zip(spec.nodes, found.operations, strict=True):
        if isinstance(operation, Recurrence):
            yield node.name, recurrence_spec(spec, node.name, operation, found.values[node.inputs[0]].features[0])
