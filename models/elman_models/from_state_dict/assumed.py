"""What is taken for granted of a model that is packed from weights alone."""

from collections.abc import Iterator

from elman_models.check import assumptions
from elman_models.from_state_dict.graph import NO_ACTIVATION, Row
from elman_models.from_state_dict.hyper_parameters import HyperParameters, said
from elman_models.from_state_dict.listed import without_weights
from elman_models.from_state_dict.stack_choice import in_words
from elman_models.spec import Cell, EmbeddingSpec, HeadSpec, ModelSpec


def assumed(row: Row, asked: Cell | None, told: HyperParameters) -> Iterator[str]:
    """A line each.

    Args:
        row: what was found.
        asked: the cell, as far as the caller said it.
        told: what the checkpoint says of the training.
    """
    *_, (_, last) = row.stacks
    table = EmbeddingSpec(num_embeddings=row.table.shape[0], embedding_dim=row.table.shape[1]) if row.table else None
    head = HeadSpec(out_features=row.layers[-1].shape[0]) if row.layers else None
    fields = {"embedding": table, "head": head, "input_size": row.stacks[0][1].input_size}
    yield from assumptions(last.model_copy(update=fields))
    if in_row := in_words([stack for stack, _ in row.stacks]):
        yield in_row
    yield from _about_layers(row)
    if unseen := _without_weights(row):
        yield f"{unseen}: without weights, so taken for what changes no number (dropout, picking the output)"
    yield from _about_nonlinearity(last, asked, said(told, "nonlinearity"))


def _about_layers(row: Row) -> Iterator[str]:
    if len(row.layers) < 2:
        return
    order = ", ".join(layer.prefix for layer in row.layers)
    what = "nothing" if row.activation == NO_ACTIVATION else f"{row.activation} and nothing else"
    yield f"{order} run in that order, {what} between them (--activation); the head is all of them"
    beside = [layer.prefix for layer in row.layers[1:] if layer.shape[1] == row.layers[0].shape[1]]
    if beside:
        yield f"{', '.join(beside)} could by size read the stack's output, too, and do not"


def _without_weights(row: Row) -> str:
    layers = [layer.prefix for layer in row.layers]
    stacks = [given.rpartition(".")[0] for stack, _ in row.stacks for given in stack.names.values()]
    return ", ".join(without_weights([*([row.table.prefix] if row.table else []), *stacks, *layers], layers))


def _about_nonlinearity(spec: ModelSpec, asked: Cell | None, told: object) -> Iterator[str]:
    if spec.cell not in (Cell.RNN_TANH, Cell.RNN_RELU):
        return
    own = spec.cell.removeprefix("rnn_")
    if asked is None:
        yield f"the nonlinearity is {own}, as the checkpoint's hyper_parameters say"
    elif told is not None and told != own:
        yield f"the nonlinearity is {own}, as asked for, though the checkpoint's hyper_parameters say {told!r}"
