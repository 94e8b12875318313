"""Places: where each session lies, by whose it is and its id."""

from collections.abc import Sequence
from typing import NamedTuple

from elman_server.exchange.session_calls.calls import Owner
from elman_server.sessions.handles import SLOT_BITS


class Place(NamedTuple):
    """Of one session."""

    number: int
    """Of the model version."""
    slot: int


class Places:
    """Of one model's sessions, whatever version they run on."""

    def __init__(self) -> None:
        # By principal, by session id: number and slot as one integer: a million ids are cheap.
        self._packed: dict[str, dict[str, int]] = {}

    def of(self, owner: Owner) -> Place | None:
        """Where it lies, if it lives."""
        packed = self._packed.get(owner.principal, {}).get(owner.session_id)
        return None if packed is None else Place(packed >> SLOT_BITS, packed & ((1 << SLOT_BITS) - 1))

    def put(self, principal: str, ids: Sequence[str], number: int, slots: Sequence[int]) -> None:
        """Sessions lie in these slots of a version, whether or not they lay elsewhere before."""
        mine = self._packed.setdefault(principal, {})
        mine.update(zip(ids, [number << SLOT_BITS | slot for slot in slots], strict=True))

    def remove(self, owner: Owner) -> None:
        """It has ended."""
        del self._packed[owner.principal][owner.session_id]
