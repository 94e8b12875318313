"""A spec, and weights by its names, from a state_dict alone: what `elman-server pack` does."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from elman_models.checkpoint import read_state_dict
from elman_models.dense import Dense
from elman_models.errors import SpecError, WeightsError
from elman_models.part_errors import attributes
from elman_models.parts import Keys, Parts, find_parts
from elman_models.recurrent import Recurrent, find_stacks
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
    """The attribute of the stack; where there are several, the others must be in `leave_out`."""
    embedding_key: str | None = None
    """The attribute of the embedding; "none": there is none. None: found by size, order and name."""
    head_key: str | None = None
    """The same of the head; one attribute as both is a head tied to the embedding."""
    leave_out: Sequence[str] = ()
    """Attributes that are no part of the model to be served; nothing else is left out."""

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

    spec: ModelSpec
    weights: dict[str, torch.Tensor]
    """By the names of `ModelSpec.parameter_shapes`."""
    attributes: dict[str, str]
    """What each part (stack, embedding, head) is called in the state_dict."""
    left_out: tuple[str, ...]
    """The tensors that were left out, as was asked for."""


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
) -> tuple[ModelSpec, dict[str, torch.Tensor]]:
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
    )
    inferred = infer_model(state_dict, options)
    return inferred.spec, inferred.weights


def infer_model(state_dict: Mapping[str, torch.Tensor], options: PackOptions) -> Inferred:
    """What `state_dict` is: of a module with one RNN, LSTM or GRU (or one cell), and perhaps an embedding before it and
    a linear head after it.

    Attributes may have any names: the stack's parameters are known by those that `torch.nn` gives them. The order of
    the state_dict counts, where it is a module's: what is defined before the stack stands before it. What weights
    cannot tell (an activation, a residual, a normalisation without weights) is assumed not to be there
    (`assumptions`).

    Raises:
        SpecError: an option of no meaning, or sizes that no spec allows.
        WeightsError: no stack, several, contradicting shapes, or tensors that could be more than one model, or are
            none that can be served.
    """
    words = {key: getattr(options, key) for key in ("name", "version", "description", "precision")}
    make_spec(words | {"cell": "gru", "input_size": 1, "hidden_size": 1}, "options")  # or the weights would be blamed
    kept = _without(state_dict, options.leave_out)
    stack = _only_stack(find_stacks(kept), options.rnn_key, kept)
    fields = words | {"cell": stack.cell(options.asked_cell)} | stack.sizes
    bare = make_spec(fields, "the state_dict")
    stack.check(bare.parameter_shapes())
    first = _comes_first(kept, stack, list(bare.parameter_shapes()))
    rest = {given: tensor for given, tensor in kept.items() if given not in stack.names.values()}
    keys = Keys(options.embedding_key, options.head_key)
    parts = find_parts(rest, first, bare.input_size, bare.stack_output_size, keys)
    spec = make_spec(fields | _part_fields(parts), "the state_dict")
    names = stack.names | _part_names(parts)
    weights = {canonical: kept[names[canonical]] for canonical in spec.parameter_shapes()}
    left_out = tuple(given for given in state_dict if given not in kept)
    return Inferred(spec, weights, _attributes(stack, parts), left_out)


def _without(state_dict: Mapping[str, torch.Tensor], leave_out: Sequence[str]) -> dict[str, torch.Tensor]:
    prefixes = [prefix.rstrip(".") for prefix in leave_out]
    for prefix in prefixes:
        if not any(_is_within(name, prefix) for name in state_dict):
            known = ", ".join(attributes(state_dict))
            raise WeightsError(f"leave_out: nothing is called {prefix!r}; there are {known}")
    return {name: t for name, t in state_dict.items() if not any(_is_within(name, prefix) for prefix in prefixes)}


def _is_within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _only_stack(stacks: Mapping[str, Recurrent], key: str | None, kept: Iterable[str]) -> Recurrent:
    if not stacks:
        raise WeightsError(
            "no recurrent stack: no tensor is named like weight_ih_l0, as torch.nn.LSTM's are; "
            f"there are {', '.join(list(attributes(kept))[:8]) or 'none'}"
        )
    known = ", ".join(prefix or "(no prefix)" for prefix in stacks)
    chosen = None if key is None else key.rstrip(".")
    if chosen is not None and chosen not in stacks:
        raise WeightsError(f"rnn_key: no recurrent stack {key!r}; there are {known}")
    if len(stacks) > 1:
        others = [prefix for prefix in stacks if prefix != chosen]
        flags = " ".join(f"--leave-out {prefix}" for prefix in others if prefix)
        what = f"name the others in leave_out ({flags})" if chosen else "name all but one in leave_out (--leave-out)"
        raise WeightsError(
            f"several recurrent stacks: {known}; a bundle holds one. If one alone is to be served, {what}: else a part "
            "of the model would be lost without a word"
        )
    return next(iter(stacks.values()))


def _comes_first(kept: Iterable[str], stack: Recurrent, defined: Sequence[str]) -> dict[str, bool] | None:
    """Whether each tensor stands before the stack; None where the order is not a module's. That is known by the stack:
    torch defines its parameters in one piece, as `defined`; sorted by name `weight_hh` comes before `weight_ih`."""
    order = {name: at for at, name in enumerate(kept)}
    places = [order[given] for given in stack.names.values()]
    if list(stack.names) != list(defined) or places != list(range(places[0], places[0] + len(places))):
        return None
    return {name: at < places[0] for name, at in order.items()}


def _part_fields(parts: Parts) -> dict[str, dict[str, int | bool]]:
    fields: dict[str, dict[str, int | bool]] = {}
    if parts.embedding:
        rows, columns = parts.embedding.shape
        fields["embedding"] = {"num_embeddings": rows, "embedding_dim": columns}
    if parts.head:
        fields["head"] = {"out_features": parts.head.shape[0], "bias": parts.head.bias_shape is not None}
    return fields


def _part_names(parts: Parts) -> dict[str, str]:
    return _names("embedding", parts.embedding) | _names("head", parts.head)


def _names(part: str, dense: Dense | None) -> dict[str, str]:
    return {f"{part}.{name.rpartition('.')[2]}": name for name in dense.names} if dense else {}


def _attributes(stack: Recurrent, parts: Parts) -> dict[str, str]:
    found = {"embedding": parts.embedding, "stack": stack, "head": parts.head}
    called = {part: what.prefix or "(no prefix)" for part, what in found.items() if what}
    if parts.embedding and parts.head and parts.embedding.memory == parts.head.memory:
        called["head"] += " (tied to the embedding)"
    return called
