"""A spec, and weights by its names, from a state_dict alone: what `elman-server pack` does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from elman_models.errors import SpecError, WeightsError
from elman_models.from_state_dict.assumed import assumed
from elman_models.from_state_dict.checkpoint import read_state_dict
from elman_models.from_state_dict.dense import Dense
from elman_models.from_state_dict.graph import ACTIVATIONS, NO_ACTIVATION, Row, graph_of_row
from elman_models.from_state_dict.hyper_parameters import HyperParameters, said
from elman_models.from_state_dict.listed import comes_before, distances
from elman_models.from_state_dict.part_errors import PACK_MODULE, attributes
from elman_models.from_state_dict.parts import Keys, Parts, find_parts
from elman_models.from_state_dict.recurrent import Recurrent, find_stacks
from elman_models.from_state_dict.stack_choice import choose_stacks
from elman_models.graph.spec import GraphSpec
from elman_models.spec import Cell, ModelSpec
from elman_models.spec_file import make_spec

__all__ = ["Inferred", "PackOptions", "infer_model", "infer_spec", "read_state_dict"]


@dataclass(frozen=True)
class PackOptions:
    """What a state_dict does not tell, and what it leaves open."""

    name: str
    version: str = "1"
    description: str = ""
    precision: str = "float32"
    cell: str | None = None
    """rnn_tanh, rnn_relu, lstm or gru; needed only as another way to say the nonlinearity."""
    nonlinearity: str | None = None
    """tanh or relu, for an RNN: its weights do not tell."""
    rnn_key: str | None = None
    """The attribute of the stack, or of the list (ModuleList) of cells that are stacked; where there are several, the
    others must be in `leave_out`."""
    embedding_key: str | None = None
    """The attribute of the embedding; "none": there is none. None: found by size, order and name."""
    head_key: str | None = None
    """The same of the head; one attribute as both is a head tied to the embedding."""
    leave_out: Sequence[str] = ()
    """Attributes that are no part of the model to be served; nothing else is left out."""
    activation: str | None = None
    """What stands between several linear layers after the stack (relu, tanh, none, ...), which run one after another;
    None: there are no several."""
    hyper_parameters: HyperParameters = field(default_factory=dict)
    """What the checkpoint says of the training: an RNN's `nonlinearity`, if nothing else says it."""

    @property
    def asked_cell(self) -> Cell | None:
        """The cell, as far as it is said.

        Raises:
            SpecError: no such cell or nonlinearity, or the two contradict each other.
        """
        cell, nonlinearity = self.cell, self.nonlinearity
        if nonlinearity not in (None, "tanh", "relu"):
            raise SpecError(f"nonlinearity: expected tanh or relu, got {nonlinearity!r}")
        if cell is not None and cell not in list(Cell):
            raise SpecError(f"cell: expected one of {', '.join(Cell)}, got {cell!r}")
        said = {Cell(asked) for asked in (cell, f"rnn_{nonlinearity}" if nonlinearity else None) if asked}
        if len(said) > 1:
            raise SpecError(f"cell and nonlinearity: contradict each other: {cell} and {nonlinearity}")
        return next(iter(said), None)


@dataclass(frozen=True)
class Inferred:
    """What a state_dict was found to be."""

    spec: ModelSpec | GraphSpec
    """A graph where format 1 has no room: several linear layers, several stacks in a row."""
    weights: dict[str, torch.Tensor]
    """By the names of `spec.parameter_shapes`."""
    attributes: dict[str, str]
    """What each part (stack, embedding, head) is called in the state_dict."""
    left_out: tuple[str, ...]
    """The tensors that were left out, as was asked for."""
    assumed: tuple[str, ...] = ()
    """What weights do not tell, and is taken for granted; a line each."""


def infer_spec(
    state_dict: Mapping[str, torch.Tensor],
    *,
    name: str,
    version: str = "1",
    description: str = "",
    precision: str = "float32",
    cell: str | None = None,
    nonlinearity: str | None = None,
    rnn_key: str | None = None,
    embedding_key: str | None = None,
    head_key: str | None = None,
    leave_out: Sequence[str] = (),
    activation: str | None = None,
) -> tuple[ModelSpec | GraphSpec, dict[str, torch.Tensor]]:
    """The spec of `state_dict`, and its tensors by the spec's names: `infer_model`, with the options as arguments."""
    options = PackOptions(
        name=name,
        version=version,
        description=description,
        precision=precision,
        cell=cell,
        nonlinearity=nonlinearity,
        rnn_key=rnn_key,
        embedding_key=embedding_key,
        head_key=head_key,
        leave_out=leave_out,
        activation=activation,
    )
    inferred = infer_model(state_dict, options)
    return inferred.spec, inferred.weights


def infer_model(state_dict: Mapping[str, torch.Tensor], options: PackOptions) -> Inferred:
    """What `state_dict` is: of a module with one RNN, LSTM or GRU (or one cell, or cells in a ModuleList that are
    stacked), and perhaps an embedding before it and a linear head after it; or several linear layers, if it is said
    what stands between them.

    Attributes may have any names: the stack's parameters are known by those that `torch.nn` gives them. The order of
    the state_dict counts, where it is a module's: what is defined before the stack stands before it. What weights
    cannot tell (an activation, a residual, a normalisation without weights) is assumed not to be there (`assumed`).

    Raises:
        SpecError: an option of no meaning, or sizes that no spec allows.
        WeightsError: no stack, several, contradicting shapes, or tensors that could be more than one model, or are
            none that can be served.
    """
    words = {key: getattr(options, key) for key in ("name", "version", "description", "precision")}
    make_spec(words | {"cell": "gru", "input_size": 1, "hidden_size": 1}, "options")  # or the weights would be blamed
    if options.activation not in (None, *ACTIVATIONS):
        raise SpecError(f"activation: expected one of {', '.join(ACTIVATIONS)}, got {options.activation!r}")
    kept = _without(state_dict, options.leave_out)
    stacks = choose_stacks(find_stacks(kept), options.rnn_key, kept)
    specs = [_bare(stack, words, options) for stack in stacks]
    rest, first = _rest(kept, stacks, specs)
    keys = Keys(options.embedding_key, options.head_key, options.activation is not None)
    parts = find_parts(rest, first, specs[0].input_size, specs[-1].stack_output_size, keys)
    _check_activation(options.activation, parts)
    row = Row(parts.embedding, list(zip(stacks, specs, strict=True)), parts.after, options.activation or NO_ACTIVATION)
    spec, names = _stack_of(row, words) if len(stacks) == 1 and len(parts.after) < 2 else graph_of_row(row, words)
    weights = {canonical: kept[names[canonical]] for canonical in spec.parameter_shapes()}
    left_out = tuple(given for given in state_dict if given not in kept)
    return Inferred(
        spec, weights, _attributes(row), left_out, tuple(assumed(row, options.asked_cell, options.hyper_parameters))
    )


def _bare(stack: Recurrent, words: Mapping[str, str], options: PackOptions) -> ModelSpec:
    """The stack alone."""
    asked = options.asked_cell
    told = said(options.hyper_parameters, "nonlinearity") if asked is None and stack.rows == stack.hidden_size else None
    if told in ("tanh", "relu"):
        asked = Cell(f"rnn_{told}")
    spec = make_spec({**words} | {"cell": stack.cell(asked)} | stack.sizes, "the state_dict")
    stack.check(spec.parameter_shapes())
    return spec


def _rest(
    kept: Mapping[str, torch.Tensor], stacks: Sequence[Recurrent], specs: Sequence[ModelSpec]
) -> tuple[dict[str, torch.Tensor], dict[str, bool | None]]:
    """The tensors beside the stacks, and of each whether it stands before them: by the order, where it is a module's;
    else by the numbers of one list; else None."""
    own = {given for stack in stacks for given in stack.names.values()}
    rest = {given: tensor for given, tensor in kept.items() if given not in own}
    order = {name: at for at, name in enumerate(kept)}
    places = [order[given] for stack in stacks for given in stack.names.values()]
    defined = [list(stack.names) == list(spec.parameter_shapes()) for stack, spec in zip(stacks, specs, strict=True)]
    # torch defines a stack's parameters in one piece; sorted by name `weight_hh` comes before `weight_ih`.
    if all(defined) and places == list(range(places[0], places[0] + len(places))):
        return rest, {given: order[given] < places[0] for given in rest}
    beside = next(iter(own)).rpartition(".")[0]
    return rest, {given: comes_before(given.rpartition(".")[0], beside) for given in rest}


def _check_activation(activation: str | None, parts: Parts) -> None:
    if activation is not None and len(parts.after) < 2:
        what = f"one, {parts.after[0].prefix}" if parts.after else "none"
        raise WeightsError(
            f"activation: stands between several linear layers after the stack, of which there is {what}; what it does "
            f"elsewhere is not packed from weights alone: {PACK_MODULE}"
        )
    layers = [layer.prefix for layer in parts.after]
    gaps = distances(layers)
    if activation not in (None, NO_ACTIVATION) and 1 in gaps and max(gaps) > 1:
        raise WeightsError(
            f"activation: by their numbers something stands between some of {', '.join(layers)} and nothing between "
            f"others; {PACK_MODULE}"
        )


def _stack_of(row: Row, words: Mapping[str, str]) -> tuple[ModelSpec, dict[str, str]]:
    """Format 1, and what each of its tensors is called in the state_dict."""
    (stack, bare), head = row.stacks[0], next(iter(row.layers), None)
    fields: dict[str, object] = {**words, "cell": bare.cell, **stack.sizes}
    if row.table:
        rows, columns = row.table.shape
        fields["embedding"] = {"num_embeddings": rows, "embedding_dim": columns}
    if head:
        fields["head"] = {"out_features": head.shape[0], "bias": head.bias_shape is not None}
    return make_spec(fields, "the state_dict"), stack.names | _names("embedding", row.table) | _names("head", head)


def _without(state_dict: Mapping[str, torch.Tensor], leave_out: Sequence[str]) -> dict[str, torch.Tensor]:
    prefixes = [prefix.rstrip(".") for prefix in leave_out]
    for prefix in prefixes:
        if not any(_is_within(name, prefix) for name in state_dict):
            known = ", ".join(attributes(state_dict))
            raise WeightsError(f"leave_out: nothing is called {prefix!r}; there are {known}")
    return {name: t for name, t in state_dict.items() if not any(_is_within(name, prefix) for prefix in prefixes)}


def _is_within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _names(part: str, dense: Dense | None) -> dict[str, str]:
    return {f"{part}.{name.rpartition('.')[2]}": name for name in dense.names} if dense else {}


def _attributes(row: Row) -> dict[str, str]:
    stacks = ", ".join(stack.prefix or "(no prefix)" for stack, _ in row.stacks)
    head = ", ".join(layer.prefix or "(no prefix)" for layer in row.layers)
    found = {"embedding": row.table and (row.table.prefix or "(no prefix)"), "stack": stacks, "head": head}
    called = {part: what for part, what in found.items() if what}
    if row.table and row.layers and row.table.memory == row.layers[-1].memory:
        called["head"] += " (tied to the embedding)"
    return called
