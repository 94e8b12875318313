"""What callers called the requests that made sessions: one that is sent again is answered with what it made."""

from collections.abc import Sequence

from elman_server.exchange.sessions import Owner


class Requests:
    """Of the sessions that live, at most one each; the others are unknown."""

    def __init__(self) -> None:
        self._ids: dict[tuple[str, str], tuple[str, ...]] = {}  # of sessions, by principal and request
        self._by_owner: dict[Owner, str] = {}

    def note(self, principal: str, request_id: str, session_ids: Sequence[str]) -> None:
        """These sessions were made by a request; an empty name is none."""
        if request_id and session_ids:
            self._ids[principal, request_id] = tuple(session_ids)
            self._by_owner.update({Owner(principal, one): request_id for one in session_ids})

    def made_by(self, principal: str, request_id: str) -> tuple[str, ...]:
        """The sessions that a request made, in its order; none where it is not known, or one of them has ended."""
        return self._ids.get((principal, request_id), ()) if request_id else ()

    def forget(self, owner: Owner) -> None:
        """A session has ended."""
        request_id = self._by_owner.pop(owner, None)
        if request_id is not None:
            for session_id in self._ids.pop((owner.principal, request_id), ()):
                self._by_owner.pop(Owner(owner.principal, session_id), None)
