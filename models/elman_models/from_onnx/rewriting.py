"""A graph said more plainly: products with their bias; states of stacked recurrences one by one, which exporters cut
out of one tensor of all layers and join again."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from elman_models.from_onnx.graph import Array, OnnxGraph, OnnxInput, OnnxNode
from elman_models.from_onnx.recurrent import RECURRENCES

_H, _C = 5, 6  # a recurrence's inputs


def rewritten(graph: OnnxGraph) -> OnnxGraph:
    """The same graph."""
    graph = _with_bias(graph)
    recurrences = [node for node in graph.nodes if node.op in RECURRENCES]
    if not recurrences or any(node.attributes.get("direction", "forward") != "forward" for node in recurrences):
        return _pruned(graph)  # a whole graph, whose states are values
    return _pruned(_with_ends_apart(_with_states_apart(graph)))


def _pruned(graph: OnnxGraph) -> OnnxGraph:
    """Without nodes that no output needs."""
    needed, nodes = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if needed & set(node.outputs):
            needed.update(node.inputs)
            nodes.append(node)
    return replace(graph, nodes=tuple(reversed(nodes)))


def _uses(graph: OnnxGraph) -> Counter[str]:
    return Counter([name for node in graph.nodes for name in node.inputs] + list(graph.outputs))


def _with_bias(graph: OnnxGraph) -> OnnxGraph:
    """MatMul by a matrix that is known, and what is added to it, as one MatMul of three inputs."""
    uses, products, nodes = _uses(graph), {}, []
    for node in graph.nodes:
        if node.op == "MatMul" and _rank(graph.constants, node.inputs[1]) == 2 and uses[node.outputs[0]] == 1:
            products[node.outputs[0]] = node
        nodes.append(node)
    for index, node in enumerate(nodes):
        for product, bias in (node.inputs, node.inputs[::-1]) if node.op == "Add" else ():
            if product in products and _rank(graph.constants, bias) == 1:
                before = products[product]
                if graph.constants[bias].shape == graph.constants[before.inputs[1]].shape[1:]:
                    nodes[index] = replace(before, inputs=(*before.inputs, bias), outputs=node.outputs)
                    nodes[nodes.index(before)] = replace(before, op="", outputs=())
                    break
    return replace(graph, nodes=tuple(node for node in nodes if node.op))


def _rank(constants: Mapping[str, Array], name: str) -> int | None:
    return constants[name].ndim if name in constants else None


def _with_states_apart(graph: OnnxGraph) -> OnnxGraph:
    """Inputs [layers, B, size] that are only cut into what recurrences begin with, as an input for each layer."""
    begins = {name for n in graph.nodes if n.op in RECURRENCES for name in n.inputs[_H : _C + 1] if name}
    uses, apart, parts = _uses(graph), {}, dict(graph.joined_inputs)
    for one in graph.inputs:
        cuts = {
            n.outputs[0]: _layer(n, graph.constants) for n in graph.nodes if n.op == "Slice" and one.name == n.inputs[0]
        }
        if len(cuts) == uses[one.name] == one.shape[0] and set(cuts) <= begins and None not in cuts.values():
            apart[one.name] = cuts
            parts[one.name] = tuple(f"{one.name}.{layer}" for layer in range(len(cuts)))
    if not apart:
        return graph
    renamed = {cut: f"{name}.{layer}" for name, cuts in apart.items() for cut, layer in cuts.items()}
    inputs: list[OnnxInput] = []
    for one in graph.inputs:
        inputs += (
            [replace(one, name=n, shape=(1, *one.shape[1:])) for n in parts[one.name]] if one.name in apart else [one]
        )
    nodes = tuple(
        replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs))
        for node in graph.nodes
        if not set(node.outputs) & set(renamed)
    )
    return replace(graph, inputs=tuple(inputs), nodes=nodes, joined_inputs=parts)


def _layer(node: OnnxNode, constants: Mapping[str, Array]) -> int | None:
    """Which of the first axis is cut out."""
    given = [constants.get(name) for name in node.inputs[1:5]]
    if any(part is None or part.size != 1 for part in given) or len(given) < 3:
        return None
    start, end, axis, *step = [int(part.reshape(())) for part in given if part is not None]
    return start if (axis, end - start) == (0, 1) and step in ([], [1]) and start >= 0 else None


def _with_ends_apart(graph: OnnxGraph) -> OnnxGraph:
    """Outputs that join what recurrences end with, as an output for each of them."""
    ends = {name for node in graph.nodes if node.op in RECURRENCES for name in node.outputs[1:] if name}
    joins = {
        node.outputs[0]: node.inputs
        for node in graph.nodes
        if node.op == "Concat" and set(node.inputs) <= ends and node.attributes.get("axis") == 0
    }
    if not any(name in joins for name in graph.outputs):
        return graph
    parts = {name: joins[name] for name in graph.outputs if name in joins}
    outputs = tuple(part for name in graph.outputs for part in parts.get(name, (name,)))
    return replace(graph, outputs=outputs, joined_outputs=parts)
