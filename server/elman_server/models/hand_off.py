"""The states that a hand-off makes of others, on the device where they are."""

from collections.abc import Sequence

import torch

from elman_models.graph.stack import GraphStack
from elman_models.hand_off import LinearMap
from elman_models.stack import Stack
from elman_server.errors import InvalidInput
from elman_server.exchange.model_view import TensorField
from elman_server.exchange.session_calls.hand_off import Directions, HandOff, StateMap

Tensors = Sequence[torch.Tensor]


def handed(
    hand_off: HandOff, fields: Sequence[TensorField], tensors: Tensors, targets: Sequence[TensorField], rows: int
) -> dict[int, torch.Tensor]:
    """States of so many new rows, by their place among `targets`, [layers or 1, rows, *features] each.

    Args:
        hand_off: how.
        fields, tensors: the states that there are, [layers or 1, 1 or rows, *features] each.
        targets: those of the model that takes them.
        rows: of what is made; one row is given to all.

    Raises:
        InvalidInput: a name is unknown or stands twice, a layer is not there, directions are joined of what has none,
            or the sizes disagree.
    """
    given = {field.name: (field, tensor) for field, tensor in zip(fields, tensors, strict=True)}
    places = {field.name: place for place, field in enumerate(targets)}
    made: dict[int, torch.Tensor] = {}
    for one in hand_off.maps or [StateMap(field.name, field.name) for field in targets]:
        if one.target not in places:
            raise InvalidInput(f"hand_off: the model has no state {one.target!r}; it has {_names(places)}")
        if one.source not in given:
            raise InvalidInput(
                f"hand_off: model {hand_off.model!r} has no state {one.source!r}; it has {_names(given)}"
            )
        place = places[one.target]
        if place in made:
            raise InvalidInput(f"hand_off: each state may be made once, and {one.target!r} is made twice")
        made[place] = _fitted(one, hand_off, _picked(one, *given[one.source]), targets[place], rows)
    return made


def maps_of(stack: Stack | GraphStack) -> tuple[StateMap, ...]:
    """How a model's bundle says that its states are made of another model's; none: it does not."""
    said = stack.spec.hand_off or {}
    return tuple(
        StateMap(name, one.state or name, one.layers, Directions[one.directions.upper()], stack.hand_off.get(name))
        for name, one in said.items()
    )


def _picked(one: StateMap, field: TensorField, tensor: torch.Tensor) -> torch.Tensor:
    if one.directions is not Directions.KEEP:
        tensor = _joined(one, field, tensor)
    return _mapped(one, field, _layers_of(one, field, tensor))


def _mapped(one: StateMap, field: TensorField, tensor: torch.Tensor) -> torch.Tensor:
    linear: LinearMap | None = one.linear
    if linear is None:
        return tensor
    if not field.features or tensor.dtype is not torch.float32 or tensor.shape[-1] != linear.in_features:
        raise InvalidInput(
            f"hand_off: state {one.target!r} is made by a linear layer of {linear.in_features} features, and "
            f"{one.source!r} gives {tensor.dtype} {[len(tensor), *tensor.shape[2:]]} (layers, then features)"
        )
    return linear(tensor.to(linear.weight.device))


def _layers_of(one: StateMap, field: TensorField, tensor: torch.Tensor) -> torch.Tensor:
    if not one.layers:
        return tensor
    if not field.layers or max(one.layers) >= len(tensor):
        there = f"layers 0 to {len(tensor) - 1}" if field.layers else "no layers"
        raise InvalidInput(f"hand_off: layers {list(one.layers)} of state {one.source!r}, which has {there}")
    return tensor[list(one.layers)]


def _joined(one: StateMap, field: TensorField, tensor: torch.Tensor) -> torch.Tensor:
    # [2 x layers, rows, size], a layer's two directions one after the other, to [layers, rows, ...].
    if field.layers % 2 or not field.layers or not field.features:
        raise InvalidInput(
            f"hand_off: directions of state {one.source!r} cannot be joined: expected two for each layer, and it has "
            f"{field.layers or 'no'} rows of layers"
        )
    forward, backward = tensor[0::2], tensor[1::2]
    if one.directions is Directions.SUM:
        return forward + backward
    return torch.cat([forward, backward], dim=-1)


def _fitted(one: StateMap, hand_off: HandOff, tensor: torch.Tensor, target: TensorField, rows: int) -> torch.Tensor:
    layers, given_rows, *features = tensor.shape
    wanted = [target.layers or 1, *target.features]
    kind = torch.int64 if target.num_embeddings or target.dtype.kind == "i" else torch.float32
    if [layers, *features] != wanted or tensor.dtype.is_floating_point != kind.is_floating_point:
        raise InvalidInput(
            f"hand_off: state {one.target!r}: expected {kind} {wanted} (layers, then features), and {one.source!r} of "
            f"model {hand_off.model!r} gives {tensor.dtype} {[layers, *features]}"
        )
    if given_rows not in (1, rows):
        raise InvalidInput(f"hand_off: state {one.source!r}: expected 1 row or {rows}, got {given_rows}")
    return tensor.expand(layers, rows, *features)


def _names(known: dict[str, int] | dict[str, tuple[TensorField, torch.Tensor]]) -> str:
    return ", ".join(map(repr, known)) or "none"
