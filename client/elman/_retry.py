"""When to try again, and how long to wait before it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from elman._errors import ElmanError, LimitReachedError, UnavailableError


@dataclass(frozen=True)
class Retry:
    """Exponential backoff with full jitter; attempts count from the last progress."""

    max_attempts: int = 12
    """Tries of one thing, the first included, before its error is raised. The defaults give up after half a minute."""
    initial_backoff_seconds: float = 0.05
    """Longest wait before the second try; doubled for each one after it."""
    max_backoff_seconds: float = 5.0
    """Longest wait of all."""

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts: expected at least 1, got {self.max_attempts}")
        if self.initial_backoff_seconds < 0 or self.max_backoff_seconds < 0:
            raise ValueError("backoff: expected at least 0 seconds")

    def delay_seconds(self, attempt: int, error: ElmanError) -> float:
        """How long to wait after the failed `attempt`, counted from 1: what the server said, else the backoff."""
        told = error.details.retry_after_seconds
        if told is not None:
            return told * random.uniform(1.0, 1.2)
        longest = min(self.max_backoff_seconds, self.initial_backoff_seconds * 2.0 ** (attempt - 1))
        return longest * random.uniform(0.5, 1.0)


NO_RETRY = Retry(max_attempts=1)


def is_cut(error: ElmanError) -> bool:
    """Whether the connection, not what was asked, is at fault: connect and attach again.

    A killed server is seen as UNAVAILABLE directly, as CANCELLED or INTERNAL through proxies; one that stops, as
    CANCELLED by calls that come just then. What this side cancels raises CancelledError: no error that could come here.
    """
    details = error.details
    if details.code == "ABORTED":
        return details.reason == "RE_ATTACH"
    return details.code in ("UNAVAILABLE", "CANCELLED") or (details.code == "INTERNAL" and not details.reason)


def given_up(error: ElmanError) -> ElmanError:
    """The error to raise when retries are spent: a cut is told as such, however a proxy made it look."""
    if is_cut(error) and not isinstance(error, UnavailableError):
        return UnavailableError(str(error), error.details)
    return error


def is_refused_for_now(error: ElmanError) -> bool:
    """Whether the server asks for the same again later, on the same connection."""
    return isinstance(error, LimitReachedError) and error.retry_after_seconds is not None
