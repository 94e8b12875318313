"""What callers called the requests that made sessions: one that is sent again is answered with what it made."""

from collections.abc import Sequence

from elman_server.errors import InvalidInput
from elman_server.exchange.session_calls.calls import Owner


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

    def made_by(self, principal: str, request_id: str, asked: Sequence[str] | int) -> tuple[str, ...]:
        """The sessions that a request made, in its order; none where it is not known, or one of them has ended.

        `asked`: the ids that it is for now, or how many under ids that the server makes.

        Raises:
            InvalidInput: it was for others then.
        """
        made = self._ids.get((principal, request_id), ()) if request_id else ()
        is_same = len(made) == asked if isinstance(asked, int) else made == tuple(asked)
        if made and not is_same:
            told = f"{asked} of the server's ids" if isinstance(asked, int) else _in_words(asked)
            raise InvalidInput(f"request_id: that request made session {_in_words(made)}, and this one is for {told}")
        return made

    def forget(self, owner: Owner) -> None:
        """A session has ended."""
        request_id = self._by_owner.pop(owner, None)
        if request_id is not None:
            for session_id in self._ids.pop((owner.principal, request_id), ()):
                self._by_owner.pop(Owner(owner.principal, session_id), None)


def _in_words(ids: Sequence[str]) -> str:
    return repr(ids[0]) if len(ids) == 1 else f"{ids[0]!r} and {len(ids) - 1} more"
