"""Packing: a spec, and weights by its names, from a state_dict alone."""

from collections.abc import Mapping

import torch

from elman_models.checkpoint import read_state_dict
from elman_models.dense import Dense, Keys, Parts, find_parts
from elman_models.errors import SpecError, WeightsError
from elman_models.recurrent import Recurrent, find_stacks
from elman_models.spec import Cell, ModelSpec
from elman_models.spec_file import make_spec

__all__ = ["infer_spec", "read_state_dict"]


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
) -> tuple[ModelSpec, dict[str, torch.Tensor]]:
    """The spec of `state_dict`, and its tensors by the names of `ModelSpec.parameter_shapes`.

    Attributes may have any names: the stack's parameters are known by those that `torch.nn` gives them.

    Args:
        state_dict: of a module with one RNN, LSTM or GRU (or one cell), and perhaps an embedding and a linear head.
        name, version, description, precision: the spec's.
        cell: rnn_tanh, rnn_relu, lstm or gru; needed only as another way to say the nonlinearity.
        nonlinearity: tanh or relu, for an RNN: its weights do not tell.
        rnn_key: the attribute of the stack, where there are several; the others' recurrent weights are left out.
        embedding_key, head_key: attributes of those parts where shapes and names leave it open; "none" for no such
            part. With all three keys given, whatever else the state_dict holds is left out.

    Raises:
        SpecError: an option of no meaning, or sizes that no spec allows.
        WeightsError: no stack, several, contradicting shapes, or tensors that are no part of a servable model.
    """
    stacks = find_stacks(state_dict)
    stack = _choose(stacks, rnn_key)
    words = {"name": name, "version": version, "description": description, "precision": precision}
    fields = words | {"cell": stack.cell(_asked(cell, nonlinearity))} | _sizes(stack)
    bare = make_spec(fields, "the state_dict")
    stack.check(bare.parameter_shapes())
    keys = Keys(embedding_key, head_key, only=None not in (rnn_key, embedding_key, head_key))
    parts = find_parts(_beside(stacks, state_dict), bare.input_size, bare.stack_output_size, keys)
    spec = make_spec(fields | _part_fields(parts), "the state_dict")
    return spec, _named(state_dict, stack.names | _part_names(parts), spec)


def _named(
    state_dict: Mapping[str, torch.Tensor], names: Mapping[str, str], spec: ModelSpec
) -> dict[str, torch.Tensor]:
    return {canonical: state_dict[names[canonical]] for canonical in spec.parameter_shapes()}


def _beside(stacks: Mapping[str, Recurrent], state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    recurrent = {given for stack in stacks.values() for given in stack.names.values()}
    return {given: tensor for given, tensor in state_dict.items() if given not in recurrent}


def _choose(stacks: Mapping[str, Recurrent], key: str | None) -> Recurrent:
    if not stacks:
        raise WeightsError("no recurrent stack: no tensor is named like weight_ih_l0, as torch.nn.LSTM's are")
    known = ", ".join(prefix or "(no prefix)" for prefix in stacks)
    if key is None:
        if len(stacks) > 1:
            raise WeightsError(f"several recurrent stacks: {known}; give rnn_key (--rnn-key) to choose one")
        return next(iter(stacks.values()))
    if key.rstrip(".") not in stacks:
        raise WeightsError(f"rnn_key: no recurrent stack {key!r}; there are {known}")
    return stacks[key.rstrip(".")]


def _asked(cell: str | None, nonlinearity: str | None) -> Cell | None:
    if nonlinearity not in (None, "tanh", "relu"):
        raise SpecError(f"nonlinearity: expected tanh or relu, got {nonlinearity!r}")
    if cell is not None and cell not in list(Cell):
        raise SpecError(f"cell: expected one of {', '.join(Cell)}, got {cell!r}")
    said = {Cell(asked) for asked in (cell, f"rnn_{nonlinearity}" if nonlinearity else None) if asked}
    if len(said) > 1:
        raise SpecError(f"cell and nonlinearity: contradict each other: {cell} and {nonlinearity}")
    return next(iter(said), None)


def _sizes(stack: Recurrent) -> dict[str, int | bool]:
    return {
        "input_size": stack.input_size,
        "hidden_size": stack.hidden_size,
        "num_layers": stack.num_layers,
        "bias": stack.bias,
        "bidirectional": stack.bidirectional,
        "proj_size": stack.proj_size,
    }


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
