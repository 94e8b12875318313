"""Records: generations that may be asked for again, the newest ones of a model."""

from collections import OrderedDict

from elman_server.generating.generation import Generation
from elman_server.sessions.table import Sessions

MAX_STEPS = 1 << 20
"""Of all records of a model version together."""


class Records:
    """One for each session, its newest."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._by_slot: OrderedDict[int, Generation] = OrderedDict()

    def find(self, slot: int) -> Generation | None:
        """That of a session, if it has not been stepped otherwise since."""
        found = self._by_slot.get(slot)
        if found is None or found.created != float(self._sessions.created[slot]):
            return None
        admitted = int(self._sessions.admitted[slot])
        return found if admitted == found.position + found.under_way else None

    def put(self, generation: Generation) -> None:
        """A new one, in place of its session's last."""
        self._by_slot.pop(generation.slot, None)
        self._by_slot[generation.slot] = generation

    def all(self) -> list[Generation]:
        """All there are."""
        return list(self._by_slot.values())

    def trim(self) -> None:
        """Lets go of the oldest that do not run, where they have too many steps."""
        steps = sum(one.count for one in self._by_slot.values())
        for slot, one in list(self._by_slot.items()):
            if steps <= MAX_STEPS:
                return
            if not one.is_running:
                del self._by_slot[slot]
                steps -= one.count
