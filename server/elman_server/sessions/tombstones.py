"""Tombstones: what is remembered of sessions that expired, were evicted or ended with their model."""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime

from elman_server.errors import SessionExpired, StaleHandle

SessionKey = tuple[str, str]
"""Principal and session id."""


_WORDS = {
    "expired": "was expired",
    "evicted": "was evicted",
    "disconnected": "ended with the stream that drove it,",
    "drained": "ended, as its model was unloaded,",
}


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The end of one session."""

    position: int
    ended: float  # Unix seconds
    cause: str  # expired, evicted, disconnected or drained: its model was unloaded

    def error(self, session_id: str) -> SessionExpired:
        """What the session's next caller is told."""
        when = datetime.fromtimestamp(self.ended, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return SessionExpired(
            f"session {session_id!r} {_WORDS[self.cause]} at {when}, at position {self.position}; "
            "open it as NEW and send its sequence again from the start",
            metadata={"position": self.position, "end_time": when, "cause": self.cause},
        )


def moved(version: str) -> StaleHandle:
    """What to tell whoever sends steps of a session that has moved."""
    return StaleHandle(
        f"the session was moved to version {version!r} before this chunk's turn came, so it was not applied; attach "
        "again, and send it again",
        metadata={"moved_to": version},
    )


class Tombstones:
    """The last `capacity` ends, by id and by handle."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._by_key: OrderedDict[SessionKey, tuple[int, Tombstone]] = OrderedDict()
        self._by_handle: dict[int, SessionKey] = {}
        self._moved: OrderedDict[int, str] = OrderedDict()  # by handle: the version that the session went to

    def bury(self, key: SessionKey, handle: int, tombstone: Tombstone) -> None:
        """Remembers the end of a session whose last handle was `handle`."""
        self.lift(key)
        self._by_key[key] = (handle, tombstone)
        self._by_handle[handle] = key
        while len(self._by_key) > self._capacity:
            _, (oldest, _) = self._by_key.popitem(last=False)
            del self._by_handle[oldest]

    def note_moved(self, handle: int, version: str) -> None:
        """Remembers that the session of a handle has moved."""
        self._moved[handle] = version
        while len(self._moved) > self._capacity:
            self._moved.popitem(last=False)

    def lift(self, key: SessionKey) -> None:
        """Forgets: the id begins anew."""
        entry = self._by_key.pop(key, None)
        if entry:
            del self._by_handle[entry[0]]

    def of(self, key: SessionKey) -> Tombstone | None:
        """How the session of that id ended, if it is remembered."""
        entry = self._by_key.get(key)
        return entry[1] if entry else None

    def of_handle(self, handle: int) -> SessionExpired | StaleHandle | None:
        """What to tell the holder of a handle that is stale, if its session expired or moved."""
        if version := self._moved.get(handle):
            return moved(version)
        key = self._by_handle.get(handle)
        entry = self._by_key.get(key) if key else None  # asked from other threads, too: it may be lifted meanwhile
        return entry[1].error(key[1]) if key and entry else None
