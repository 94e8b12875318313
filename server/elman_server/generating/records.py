"""Records: generations that may be asked for again, the newest ones of a model."""

from collections import OrderedDict

from elman_server.generating.generation import Generation
from elman_server.models.runtime import Runtime

MAX_BYTES = 64 << 20
"""Of all records of a model version together, about."""
STARTS_BETWEEN = 64
"""Between looks at how many they are."""


class Records:
    """One for each session, its newest."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._by_slot: OrderedDict[int, Generation] = OrderedDict()
        self._num_put = 0

    def find(self, slot: int) -> Generation | None:
        """That of a session, if it has not been stepped otherwise since, nor put at another state."""
        found = self.newest(slot)
        if found is None or found.turns != self._runtime.turns[slot]:
            return None
        admitted = int(self._runtime.sessions.admitted[slot])
        return found if admitted == found.position + found.under_way else None

    def newest(self, slot: int) -> Generation | None:
        """That of a session, whatever became of the session since."""
        found = self._by_slot.get(slot)
        return found if found and found.created == float(self._runtime.sessions.created[slot]) else None

    def put(self, generation: Generation) -> None:
        """A new one, in place of its session's last."""
        self._num_put += 1
        if self._num_put % STARTS_BETWEEN == 0:
            self._trim()
        self._by_slot.pop(generation.slot, None)
        self._by_slot[generation.slot] = generation

    def all(self) -> list[Generation]:
        """All there are."""
        return list(self._by_slot.values())

    def _trim(self) -> None:
        # The oldest that nobody listens to go, where they are too large.
        num_bytes = sum(one.num_bytes for one in self._by_slot.values())
        for slot, one in list(self._by_slot.items()):
            if num_bytes <= MAX_BYTES:
                return
            if one.listener is None:
                del self._by_slot[slot]
                num_bytes -= one.num_bytes
