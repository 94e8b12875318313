"""What was made of a module, in words."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elman_models.export.assembly import Assembled
from elman_models.export.proof import Differences
from elman_models.graph.spec import GraphSpec, Node

_KINDS = {
    "streaming": "streaming: sessions, chunks and slices give what the whole sequence gives",
    "step": "step by step, with declared state: sessions, chunks and slices give what the whole sequence gives",
    "whole": "whole sequences alone, through Infer, which gives and keeps what recurrences end with",
}


@dataclass(frozen=True)
class PackedModule:
    """A bundle that was made of a module; as text, what was made of it, node by node."""

    path: Path
    assembled: Assembled
    differences: Differences
    reason: str = ""
    """Why it is a whole graph, where it is."""
    proved_against: str = ""
    """Of a file: what it was held against."""
    notes: tuple[str, ...] = ()
    """What is assumed of a file, a line each."""
    golden: str = ""
    """What came of a golden file, where one was given."""
    left_out: tuple[str, ...] = ()
    """What the module gives that is no tensor: `output_1 (None)`."""

    @property
    def spec(self) -> GraphSpec:
        """Of the bundle."""
        return self.assembled.spec

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        spec, made = self.spec, self.assembled
        yield f"{spec.name}, version {spec.version}: {_KINDS[spec.kind]}"
        if self.reason:
            yield f"  because: {self.reason}"
        for one in (*spec.inputs, *spec.context):
            what = "input" if one in spec.inputs else "context"
            yield f"  {what:<9}{one.name}: {one.dtype} {list(one.features)}"
        computed = spec.computed_starts
        for state in spec.states:
            at = "with what was learned" if state.initial else f"at {computed.get(state.name, 'zeros')}"
            yield f"  state    {state.name}: {list(state.shape)}, begins {at}"
        for argument, name in made.state_inputs.items():
            yield f"  argument {argument}: is the state {name}"
        for node in spec.nodes:
            yield f"  node     {_node(node)}{_origin(made, node)}"
        for output in spec.outputs:
            yield f"  output   {output.name}: {output.value}{', of the last step' if output.last_only else ''}"
        for ended in made.state_outputs:
            yield f"  returned {ended}: is a session's state, no output"
        if self.left_out:
            yield f"  left out {', '.join(self.left_out)}: no tensor, so no output"
        unused = [
            i.name
            for i in made.inputs
            if i.kind in ("input", "context") and i.spec not in (*spec.inputs, *spec.context)
        ]
        if unused:
            yield f"  not used {', '.join(unused)}"
        for note in self.notes:
            yield f"  assumed  {note}"
        yield f"  proved   {f'against {self.proved_against}: ' if self.proved_against else ''}{self.differences}"
        if self.golden:
            yield f"  golden   {self.golden}"
        yield f"  written  {self.path}"


def _node(node: Node) -> str:
    parameters = ", ".join(f"{name}={_short(value)}" for name, value in node.parameters.items())
    return f"{node.name} = {node.op}({', '.join([*node.inputs, *([parameters] if parameters else [])])})"


def _short(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _origin(made: Assembled, node: Node) -> str:
    origin = made.origins.get(node.name, "")
    return f"    # {origin}" if origin and origin != "the module" else ""
