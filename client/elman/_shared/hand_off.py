"""Hand-offs: new sessions' states from those of another session, or of inferred sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from elman._shared.errors import InvalidInputError
from elman._shared.results import State
from elman.v1 import sessions_pb2, tensor_pb2
from elman.wire import to_tensor

JoinedDirections = Literal["keep", "concatenate", "sum"]
_DIRECTIONS: Final[dict[str, sessions_pb2.Directions.ValueType]] = {
    "keep": sessions_pb2.DIRECTIONS_UNSPECIFIED,
    "concatenate": sessions_pb2.DIRECTIONS_CONCATENATE,
    "sum": sessions_pb2.DIRECTIONS_SUM,
}


@dataclass(frozen=True)
class StateFrom:
    """How a state is made of another model's: `model.session(from_=..., map={"h": StateFrom("h", layers=[1])})`."""

    state: str = ""
    """The other model's; empty: of the same name."""
    layers: Sequence[int] | None = None
    """Which of its layers, in this order, once its directions are joined; None: all."""
    directions: JoinedDirections = "keep"
    """Of a bidirectional stack, whose layers are layer 0 forward, layer 0 backward, and so on: one behind the other
    along the last axis, or added, and so half as many; or kept, as layers of their own."""


def of_session(model: str, session_id: str, maps: object) -> sessions_pb2.HandOff:
    """From a session's state. Raises TypeError, InvalidInputError."""
    return sessions_pb2.HandOff(model=model, session_id=session_id, maps=_maps(maps))


def of_sessions(model: str, session_ids: Sequence[str], maps: object) -> sessions_pb2.HandOff:
    """Each from the state of the one at its place. Raises TypeError, InvalidInputError."""
    return sessions_pb2.HandOff(model=model, session_ids=session_ids, maps=_maps(maps))


def of_state(state: State, maps: object) -> sessions_pb2.HandOff:
    """From what a model gave. Raises TypeError, InvalidInputError."""
    if state.model is None:
        raise InvalidInputError("from_: expected a session, or a State that came from a model's infer, step or state")
    name, version = state.model
    if not state:
        raise InvalidInputError(f"from_: expected a state with tensors, and model {name!r} has none to give")
    states = [tensor_pb2.NamedTensor(name=key, tensor=to_tensor(array)) for key, array in state.items()]
    return sessions_pb2.HandOff(model=name, version=version, states=states, maps=_maps(maps))


def _maps(maps: object) -> list[sessions_pb2.StateMap]:
    if maps is None:
        return []
    if not isinstance(maps, Mapping):
        raise TypeError(f"map: expected a dict of state names to names or elman.StateFrom, got {maps!r:.100}")
    if not maps:
        raise InvalidInputError(
            "map: expected at least one state, got none; without a map each is that of the same name"
        )
    return [_map(target, one) for target, one in maps.items()]


def _map(target: object, one: object) -> sessions_pb2.StateMap:
    if isinstance(one, str):
        one = StateFrom(one)
    if not isinstance(target, str) or not isinstance(one, StateFrom):
        raise TypeError(f"map: expected names of states, and names or elman.StateFrom, got {target!r}: {one!r:.100}")
    if one.directions not in _DIRECTIONS:
        expected = ", ".join(map(repr, _DIRECTIONS))
        raise InvalidInputError(f"directions: expected one of {expected}, got {one.directions!r}")
    layers = [] if one.layers is None else list(one.layers)
    if one.layers is not None and not layers:
        raise InvalidInputError("layers: expected at least one, or None for all, got none")
    if any(isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer < 1 << 32 for layer in layers):
        raise InvalidInputError(f"layers: expected whole numbers of at least 0, got {layers}")
    return sessions_pb2.StateMap(target=target, source=one.state, directions=_DIRECTIONS[one.directions], layers=layers)
