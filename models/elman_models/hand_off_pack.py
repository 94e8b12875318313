"""A bundle's word on how its sessions begin from another model's state, written beside its weights."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from elman_models.bundle import read_any_spec, read_weights, write_bundle
from elman_models.errors import SpecError
from elman_models.graph.spec import GraphSpec
from elman_models.spec import Activation, Directions, LinearSpec, ModelSpec, StateFromSpec
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
    fields["hand_off"] = {name: _spec_of(name, one).model_dump() for name, one in maps.items()}
    where = str(folder)
    said = make_graph(fields, where) if isinstance(spec, GraphSpec) else make_spec(fields, where)
    for name, one in maps.items():
        if one.linear is not None:
            kept |= {f"hand_off.{name}.{part}": t.detach() for part, t in one.linear.named_parameters()}
    write_bundle(folder, said, kept, overwrite=True)
    return said


def _spec_of(name: str, one: StateFrom) -> StateFromSpec:
    linear = one.linear
    try:
        return StateFromSpec(
            state=one.state,
            directions=one.directions,
            layers=tuple(one.layers),
            linear=LinearSpec(in_features=linear.in_features, bias=linear.bias is not None) if linear else None,
            activation=one.activation,
        )
    except ValueError as error:
        raise SpecError(f"hand_off.{name}: {error}") from error
