"""A bundle's word on how its sessions begin from another model's state, written beside its weights."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from elman_models.bundle import read_any_spec, read_weights, write_bundle
from elman_models.errors import SpecError
from elman_models.graph.spec import GraphSpec
from elman_models.spec import Activation, Directions, ModelSpec
from elman_models.spec_file import make_graph, make_spec


@dataclass(frozen=True)
class StateFrom:
    """How one state is made of another model's."""

    state: str = ""
    """The other model's; empty: of the same name."""
    directions: Directions = "keep"
    """Of a bidirectional stack: first its two directions are joined, layer by layer ("concatenate", "sum"),"""
    layers: Sequence[int] = ()
    """then these layers are picked, in this order; none: all;"""
    linear: nn.Linear | None = None
    """then each layer goes through this,"""
    activation: Activation | None = None
    """and this."""


def declare_hand_off(folder: str | os.PathLike[str], maps: Mapping[str, StateFrom]) -> ModelSpec | GraphSpec:
    """Has the bundle `folder` say how its sessions begin from another model's state, by its states' names; those that
    `maps` does not name begin as ever. What it said before is forgotten. The new spec.

    Raises:
        SpecError, WeightsError, BundleError: the bundle cannot be read or written; or what is said contradicts it.
    """
    spec = read_any_spec(folder)
    kept = {k: v for k, v in read_weights(folder, spec).items() if not k.startswith("hand_off.")}
    fields = spec.model_dump(mode="json", exclude_none=True)
    fields["hand_off"] = {name: _fields_of(name, one) for name, one in maps.items()}
    where = str(folder)
    said = make_graph(fields, where) if isinstance(spec, GraphSpec) else make_spec(fields, where)
    for name, one in maps.items():
        if one.linear is not None:
            own = {"weight": one.linear.weight, "bias": one.linear.bias}
            kept |= {f"hand_off.{name}.{part}": t.detach() for part, t in own.items() if t is not None}
    write_bundle(folder, said, kept, overwrite=True)
    return said


def _fields_of(name: str, one: StateFrom) -> dict[str, object]:
    _check_kinds(f"hand_off.{name}", one)
    linear = one.linear
    return {
        "state": one.state,
        "directions": one.directions,
        "layers": list(one.layers),
        "linear": {"in_features": linear.in_features, "bias": linear.bias is not None} if linear else None,
        "activation": one.activation,
    }


def _check_kinds(where: str, one: object) -> None:
    if not isinstance(one, StateFrom):
        raise SpecError(f"{where}: expected elman_models.StateFrom, got {type(one).__module__}.{type(one).__name__}")
    if one.linear is not None and not isinstance(one.linear, nn.Linear):
        raise SpecError(
            f"{where}.linear: expected torch.nn.Linear, got {type(one.linear).__name__}; what stands behind it is the "
            "activation"
        )
    if isinstance(one.layers, str) or not isinstance(one.layers, Sequence):
        raise SpecError(f"{where}.layers: expected a sequence of numbers, got {one.layers!r}")
