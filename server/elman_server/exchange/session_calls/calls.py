"""What is asked of sessions, and what is told of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

from numpy.typing import NDArray

from elman_server.errors import ServiceError
from elman_server.exchange.model_view import ModelView

Array = NDArray[Any]


class Owner(NamedTuple):
    """Whose session it is, and which of theirs."""

    principal: str
    session_id: str


class OpenMode(IntEnum):
    """What to do where an id exists, and where it does not."""

    NEW = 1
    RESUME = 2
    RESUME_OR_NEW = 3


@dataclass(slots=True)
class OpenResult:
    """What opening or attaching ids gave, in their order; the zero or empty where it failed."""

    ids: Sequence[str]
    handles: list[int]
    positions: list[int]
    versions: list[str]
    resumed: list[bool]
    errors: dict[int, ServiceError] = field(default_factory=dict)

    @classmethod
    def empty(cls, ids: Sequence[str], error: ServiceError | None = None) -> "OpenResult":
        """None of the ids, all for the same error; without one nothing is known of them yet."""
        errors = dict.fromkeys(range(len(ids)), error) if error else {}
        return cls(ids, [0] * len(ids), [0] * len(ids), [""] * len(ids), [False] * len(ids), errors)


@dataclass(frozen=True, slots=True)
class SessionView:
    """One session as its owner may see it; times in Unix seconds."""

    model: str
    version: str
    session_id: str
    position: int
    admitted: int
    created: float
    used: float
    expires: float | None
    states: tuple[Array, ...] | None = None
    """[layers or 1, 1, *features] of each of the model's, if asked for."""
    context: Mapping[str, Array] = field(default_factory=dict)
    """[1, *features] by name, with the states."""
    tensors: ModelView | None = None
    """Whose they are, with them."""
    marks: Mapping[str, int] = field(default_factory=dict)
    """Positions by name, in the order in which they were made."""


@dataclass(slots=True)
class Closed:
    """What closing ids gave, in their order; 0 where it failed."""

    positions: list[int]
    errors: dict[int, ServiceError] = field(default_factory=dict)
