"""Hand-offs: how the states of new sessions are made of another session's, or of what `Infer` gave."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from elman_server.exchange.initial import Initial


class Directions(IntEnum):
    """What becomes of the two directions of a bidirectional stack, layer by layer."""

    KEEP = 0
    CONCATENATE = 1
    SUM = 2


@dataclass(frozen=True, slots=True)
class StateMap:
    """How one state of the new sessions is made."""

    target: str
    source: str
    layers: tuple[int, ...] = ()
    """Which, in the order wanted, once the directions are joined; none: all."""
    directions: Directions = Directions.KEEP
    linear: Any = None
    """What each layer goes through then: `elman_models.hand_off.LinearMap`; None: nothing."""


@dataclass(frozen=True, slots=True)
class HandOff:
    """All of them."""

    model: str
    """Whose state it is, for messages."""
    maps: tuple[StateMap, ...] = ()
    """States that none names begin as the model begins; no maps: as the bundle of the model that takes them says of
    other models' states, else each state is the one of the same name."""


@dataclass(frozen=True, slots=True)
class HandOffRequest:
    """The sessions that are to begin."""

    principal: str
    ids: Sequence[str]
    version: str
    context: Initial
    """Of so many; it has no states."""
    ends_with_stream: bool | None
