"""A graph drawn: as text, for Graphviz, and as Mermaid, which many tools show."""

from collections.abc import Iterator

from elman_models.graph.inference import Inferred
from elman_models.graph.spec import GraphSpec, Node
from elman_models.graph.value import Value

_SIGNS = {"step": "", "row": " per row", "model": " constant"}


def draw(spec: GraphSpec) -> str:
    """A line for each input, state, node and output, in order; what each reads, and the features that it gives."""
    found = spec.inferred()
    rows = list(_rows(spec, found))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]
    return "\n".join(lines)


def _rows(spec: GraphSpec, found: Inferred) -> Iterator[tuple[str, str, str, str]]:
    computed = spec.computed_starts
    for one in spec.inputs:
        yield "input", one.name, shape_in_words(found.values[one.name]), ""
    for one in spec.context:
        yield "context", one.name, shape_in_words(found.values[one.name]), ""
    for state in spec.states:
        at = state.initial or computed.get(state.name)
        begins = f"begins at {at}" if at else ""
        after = f"becomes {state.next}" if state.next else ""
        yield "state", state.name, f"{list(state.shape)}", "; ".join(filter(None, (begins, after)))
    for node in spec.nodes:
        yield node.op, node.name, shape_in_words(found.values[node.name]), _reads(node)
    for output in spec.outputs:
        last = ", of the last step" if output.last_only else ""
        yield "output", output.name, shape_in_words(found.values[output.value]), f"{output.value}{last}"


def _reads(node: Node) -> str:
    told = [", ".join(node.inputs)]
    told += [f"{name}={value}" for name, value in node.parameters.items()]
    told += [f"state {state}" for state in node.states.values()]
    return "  ".join(filter(None, told))


def shape_in_words(value: Value) -> str:
    """Features, dtype where it is not float32, and what there is one of it for where that is not a step."""
    dtype = "" if value.dtype == "float32" else f" {value.dtype}"
    return f"{list(value.features)}{dtype}{_SIGNS[value.per]}"


def dot(spec: GraphSpec) -> str:
    """The same for Graphviz (https://graphviz.org/doc/info/lang.html), which draws it as SVG."""
    found = spec.inferred()
    numbers = {name: f"n{index}" for index, name in enumerate(_names(spec))}
    shapes = {name: shape_in_words(value) for name, value in found.values.items()}
    inputs = [one.name for one in (*spec.inputs, *spec.context)]
    lines = [f'{numbers[name]} [label="{name} {shapes[name]}", style=rounded]' for name in inputs]
    lines += [f'{numbers[s.name]} [label="{s.name} {list(s.shape)}", shape=ellipse]' for s in spec.states]
    lines += [f'{numbers[n.name]} [label="{n.name}\\n{n.op} {shapes[n.name]}"]' for n in spec.nodes]
    lines += [f'out{index} [label="{output.name}", style=rounded]' for index, output in enumerate(spec.outputs)]
    arrows = {"-->": "{} -> {}", "<-.->": "{} -> {} [dir=both, style=dotted]", "-.->": "{} -> {} [style=dotted]"}
    for edge in _edges(spec, numbers):
        begin, arrow, end = edge.split()
        lines.append(arrows[arrow].format(begin, end))
    return "\n".join(["digraph {", "  node [shape=box]", *(f"  {line}" for line in lines), "}"])


def mermaid(spec: GraphSpec) -> str:
    """A Mermaid flowchart (https://mermaid.js.org/syntax/flowchart.html); states are drawn as circles, dotted."""
    found = spec.inferred()
    numbers = {name: f"n{index}" for index, name in enumerate(_names(spec))}
    shapes = {name: shape_in_words(value) for name, value in found.values.items()}
    inputs = [one.name for one in (*spec.inputs, *spec.context)]
    lines = [f'{numbers[name]}(["{name} {shapes[name]}"])' for name in inputs]
    lines += [f'{numbers[state.name]}(("{state.name} {list(state.shape)}"))' for state in spec.states]
    lines += [f'{numbers[n.name]}["{n.name}<br/>{n.op} {shapes[n.name]}"]' for n in spec.nodes]
    lines += [f'out{index}(["{output.name}"])' for index, output in enumerate(spec.outputs)]
    return "\n".join(["flowchart TD", *(f"  {line}" for line in [*lines, *_edges(spec, numbers)])])


def _names(spec: GraphSpec) -> list[str]:
    inputs = [one.name for one in (*spec.inputs, *spec.context)]
    return [*inputs, *(state.name for state in spec.states), *(node.name for node in spec.nodes)]


def _edges(spec: GraphSpec, numbers: dict[str, str]) -> Iterator[str]:
    for node in spec.nodes:
        for reference in node.inputs:
            yield f"{_number(numbers, reference)} --> {numbers[node.name]}"
        for name in node.states.values():
            yield f"{numbers[name]} <-.-> {numbers[node.name]}"
    for state in spec.states:
        if state.next:
            yield f"{_number(numbers, state.next)} -.-> {numbers[state.name]}"
    for index, output in enumerate(spec.outputs):
        yield f"{_number(numbers, output.value)} --> out{index}"


def _number(numbers: dict[str, str], reference: str) -> str:
    return numbers[reference.partition(":")[0]]
