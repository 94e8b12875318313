"""Hand-offs as messages."""

from typing import Any

from numpy.typing import NDArray

from elman.v1 import sessions_pb2
from elman_server.door.elman_v1.read_states import read_named_states
from elman_server.errors import InvalidInput
from elman_server.exchange.hand_off import Directions, HandOff, StateMap
from elman_server.exchange.model_view import ModelView

MAX_MAPS = 1024
"""More states than any model has."""


def check_hand_off(request: sessions_pb2.OpenSessionsRequest) -> None:
    """Raises InvalidInput where the sessions are to begin with something else, too, or the source is not clear."""
    if request.mode not in (sessions_pb2.OPEN_MODE_UNSPECIFIED, sessions_pb2.OPEN_MODE_NEW):
        raise InvalidInput("hand_off: a session that exists has a state; expected the mode NEW")
    if request.HasField("h_0") or request.HasField("c_0") or request.initial_states:
        raise InvalidInput("expected hand_off or an initial state, got both")
    if bool(request.hand_off.session_id) == bool(request.hand_off.states):
        got = "both" if request.hand_off.states else "neither"
        raise InvalidInput(f"hand_off: expected session_id or states, one of the two, got {got}")


def read_hand_off(message: sessions_pb2.HandOff, model: str) -> HandOff:
    """How the new states are made; `model`: whose the others are.

    Raises:
        InvalidInput: an unknown number for directions, or too many maps.
    """
    if len(message.maps) > MAX_MAPS:
        raise InvalidInput(f"hand_off: expected at most {MAX_MAPS} maps, got {len(message.maps)}")
    return HandOff(model, tuple(_read_map(one) for one in message.maps))


def read_handed_states(message: sessions_pb2.HandOff, view: ModelView) -> tuple[NDArray[Any], ...]:
    """[layers or 1, 1 or K, *features] of each state of the model that they are of. Raises as `read_named_states`."""
    return read_named_states(message.states, view, "hand_off.states")


def _read_map(one: sessions_pb2.StateMap) -> StateMap:
    try:
        directions = Directions(one.directions)
    except ValueError as error:
        raise InvalidInput(f"directions: expected one of 0 to 2, got {one.directions}") from error
    return StateMap(one.target, one.source or one.target, tuple(one.layers), directions)
