"""Session ids: what may be one, on every surface."""

import re
import secrets

MAX_ID_LENGTH = 128
"""Unicode code points that a caller chooses."""
EXPECTED = f"1 to {MAX_ID_LENGTH} characters without control characters"

INTEGER = "oip-int:"
"""Begins the session ids of the Open Inference Protocol's sequences with an integer id."""
STRING = "oip-str:"
"""Begins those of sequences with a string id: 5 and "5" are two sequences. It does not count in an id's length, so that
every sequence is a session that all calls can name."""

# Unicode's category Cc, which is the same in every language and will stay so; what prints is not.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def is_session_id(text: str) -> bool:
    """Whether a session may bear this id."""
    return len(text) > 0 and len(text.removeprefix(STRING)) <= MAX_ID_LENGTH and not _CONTROL.search(text)


def make_id() -> str:
    """An id of the server's making: random."""
    return secrets.token_urlsafe(12)
