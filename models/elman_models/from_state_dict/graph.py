"""A state_dict as a graph: an embedding or none, recurrent stacks in a row, linear layers and what is between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from elman_models.export.builder import Builder
from elman_models.from_state_dict.dense import Dense
from elman_models.from_state_dict.recurrent import Recurrent
from elman_models.graph.from_stack import INPUT, OUTPUT
from elman_models.graph.operations.activations import PLAIN
from elman_models.graph.spec import GraphSpec, Kind, Node
from elman_models.spec import ModelSpec
from elman_models.spec_file import make_graph

NO_ACTIVATION = "none"
_ACTIVATIONS = ("relu", "relu6", "selu", "silu", "mish", "tanh", "sigmoid", "hardsigmoid", "hardswish", "softsign")
_WITH_DEFAULTS = ("elu", "celu", "gelu", "leaky_relu", "softplus", "hardtanh")
ACTIVATIONS = (NO_ACTIVATION, *(name for name in PLAIN if name in _ACTIVATIONS), *_WITH_DEFAULTS)
"""What may stand between two linear layers; those with parameters have torch's own."""


@dataclass(frozen=True)
class Row:
    """What runs one after another."""

    table: Dense | None
    stacks: Sequence[tuple[Recurrent, ModelSpec]]
    """Each with what it is alone."""
    layers: Sequence[Dense]
    activation: str
    """One of ACTIVATIONS."""


def graph_of_row(row: Row, words: Mapping[str, object]) -> tuple[GraphSpec, dict[str, str]]:
    """The graph, with the input `input`, the output `output`, and nodes that are called like the module's attributes;
    and what each of its tensors is called in the state_dict.

    Args:
        row: of sizes that fit.
        words: name, version, description and precision.

    Raises:
        SpecError: more than a graph holds.
    """
    nodes = _Nodes()
    if row.table:
        rows, columns = row.table.shape
        nodes.add_dense("embedding", row.table, {"num_embeddings": rows, "embedding_dim": columns})
    for stack, spec in row.stacks:
        nodes.add_stack(stack, spec)
    for number, layer in enumerate(row.layers):
        if number and row.activation != NO_ACTIVATION:
            nodes.add(row.activation, row.activation)
        nodes.add_dense("linear", layer, {"out_features": layer.shape[0]})
    given: dict[str, object] = {"features": (row.stacks[0][1].input_size,)}
    if row.table:
        given = {"dtype": "int64", "num_embeddings": row.table.shape[0]}
    is_whole = any(spec.bidirectional for _, spec in row.stacks)
    fields = {
        **words,
        "kind": Kind.WHOLE if is_whole else Kind.STREAMING,
        "inputs": ({"name": INPUT} | given,),
        "states": tuple(nodes.states),
        "nodes": tuple(nodes.builder.nodes),
        "outputs": ({"name": OUTPUT, "value": nodes.last},),
    }
    return make_graph(fields, "the state_dict"), nodes.names


class _Nodes:
    """Nodes, each of which reads the one before."""

    def __init__(self) -> None:
        self.builder = Builder(is_whole=False)
        self.builder.names.add(INPUT)
        self.states: list[dict[str, object]] = []
        self.names: dict[str, str] = {}
        """By the graph's tensor the state_dict's."""
        self.last = INPUT

    def add(
        self,
        op: str,
        label: str,
        parameters: Mapping[str, object] | None = None,
        given: Mapping[str, str] | None = None,
        states: Sequence[str] = (),
    ) -> str:
        """One; `given`: by the operation's own name of a weight that in the state_dict. The node's name."""
        name = self.builder.new_name(label)
        node = Node(
            name=name,
            op=op,
            inputs=(self.last,),
            parameters=dict(parameters or {}),
            weights={own: f"{name}.{own}" for own in given or ()},
            states={state: f"{name}.{state}" for state in states},
        )
        self.builder.add(node, "")
        self.names |= {f"{name}.{own}": theirs for own, theirs in (given or {}).items()}
        self.last = name
        return name

    def add_dense(self, op: str, dense: Dense, parameters: Mapping[str, object]) -> None:
        """An embedding or a linear layer."""
        given = {name.rpartition(".")[2]: name for name in dense.names}
        self.add(op, dense.prefix or op, parameters, given)

    def add_stack(self, stack: Recurrent, spec: ModelSpec) -> None:
        """A recurrence, with the states that a session has."""
        sizes = spec.model_dump(include={"hidden_size", "num_layers", "bias", "bidirectional", "proj_size"})
        given = {own.removeprefix("rnn."): stack.names[own] for own in spec.parameter_shapes()}
        widths = {"h": spec.state_size, "c": spec.hidden_size} if spec.has_cell_state else {"h": spec.state_size}
        states = tuple(widths)
        name = self.add(spec.cell.value, stack.prefix or "rnn", sizes, given, states)
        for state in states:
            shape = {"features": (widths[state],), "layers": spec.state_layers}
            self.states.append({"name": f"{name}.{state}"} | shape)
