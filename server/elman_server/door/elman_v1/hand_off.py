"""Hand-offs as messages."""

from typing import Any

from numpy.typing import NDArray

from elman.v1 import sessions_pb2
from elman_server.door.elman_v1.many_ids import check_ids
from elman_server.door.elman_v1.read_states import read_named_states
from elman_server.errors import InvalidInput
from elman_server.exchange.model_view import ModelView
from elman_server.exchange.session_calls.hand_off import Directions, HandOff, StateMap

MAX_MAPS = 1024
"""More states than any model has."""


def check_hand_off(request: sessions_pb2.OpenSessionsRequest) -> None:
    """Raises InvalidInput where the sessions are to begin with something else, too, or the source is not clear."""
    if request.mode not in (sessions_pb2.OPEN_MODE_UNSPECIFIED, sessions_pb2.OPEN_MODE_NEW):
        raise InvalidInput("hand_off: a session that exists has a state; expected the mode NEW")
    if request.HasField("h_0") or request.HasField("c_0") or request.initial_states:
        raise InvalidInput("expected hand_off or an initial state, got both")
    given = [bool(one) for one in (request.hand_off.session_id, request.hand_off.session_ids, request.hand_off.states)]
    if sum(given) != 1:
        got = "none" if not any(given) else "several"
        raise InvalidInput(f"hand_off: expected session_id, session_ids or states, one of them, got {got}")
    count, asked = len(request.hand_off.session_ids), request.count or len(request.session_ids)
    if count and count != asked:
        raise InvalidInput(f"hand_off: expected {asked} session_ids, one for each new session, got {count}")
    check_ids(request.hand_off.session_ids, "hand_off.session_ids")


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
