"""Whole sequences whose final states are kept, as sessions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Keep:
    """As what they are kept."""

    principal: str
    ids: Sequence[str]
    """[K] distinct, of each row."""
    request_id: str
    """The caller's name for the request; empty: none."""


class Keeping(Protocol):
    """The keeping of one call; on the engine's thread."""

    is_abandoned: bool
    """Whether its caller went away; set on any thread."""

    def check(self) -> None:
        """Before anything is run.

        Raises:
            InvalidInput: the request was one for other ids.
            SessionExists: one of the ids is taken, and not by this very request.
            LimitReached: there is no room for as many sessions.
        """
        ...

    def keep(self, states: Sequence[Array], positions: NDArray[np.int64], context: Mapping[str, Array]) -> None:
        """Begins the sessions, all or none, with [layers or 1, K, *features] of each state, at positions [K].

        Raises:
            ServiceError: as `SessionDirectory.open`, or an id is taken by now.
        """
        ...
