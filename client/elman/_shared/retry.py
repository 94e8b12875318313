"""When to try again, and how long to wait before it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from elman._shared.checks import check_integer, check_seconds
from elman._shared.errors import ElmanError, LimitReachedError, UnavailableError

_MAX_DOUBLINGS = 60  # of a float, before it overflows


@dataclass(frozen=True, kw_only=True)
class Retry:
    """Exponential backoff with jitter, bounded by time.

    The wait before the n-th retry is between half and the whole of `initial_backoff_seconds` x 2^(n-1), and of
    `max_backoff_seconds` at most; where the server says when to come back, it is that, and up to a fifth more.
    Time and waits start anew with all progress: when an answer has come. So a slow connection that moves is never given
    up, and a dead one is after `max_elapsed_seconds`, however fast it fails. Raises TypeError, InvalidInputError.
    """

    max_elapsed_seconds: float = 60.0
    """From the first failure to the last try, before the error is raised; 0: no retry. A try is not cut short."""
    initial_backoff_seconds: float = 0.05
    """Longest wait before the first retry; doubled for each one after it."""
    max_backoff_seconds: float = 5.0
    """Longest wait of all."""
    max_attempts: int | None = None
    """Tries of one thing in all, the first included, if they are to be bounded, too; None: by time alone."""

    def __post_init__(self) -> None:
        check_seconds("max_elapsed_seconds", self.max_elapsed_seconds, may_be_zero=True)
        check_seconds("initial_backoff_seconds", self.initial_backoff_seconds, may_be_zero=True)
        check_seconds("max_backoff_seconds", self.max_backoff_seconds, may_be_zero=True)
        if self.max_attempts is not None:
            check_integer("max_attempts", self.max_attempts, 1)

    def backoff_seconds(self, attempt: int) -> float:
        """How long to wait after the failed `attempt`, counted from 1, where the server does not say."""
        doublings = min(attempt - 1, _MAX_DOUBLINGS)
        longest = min(self.max_backoff_seconds, self.initial_backoff_seconds * 2.0**doublings)
        return longest * random.uniform(0.5, 1.0)


class RetryState:
    """The failures of one thing since it last made progress."""

    def __init__(self, retry: Retry, clock: Callable[[], float] = time.monotonic) -> None:
        self.num_failures = 0
        self._retry = retry
        self._clock = clock
        self._first_failure_seconds = 0.0

    def progressed(self) -> None:
        """An answer came: all that failed before is forgotten."""
        self.num_failures = 0

    def failed(self, error: ElmanError) -> float | None:
        """Counts a failure. Returns the seconds to wait before the next try; None: it is to be given up."""
        now_seconds = self._clock()
        if not self.num_failures:
            self._first_failure_seconds = now_seconds
        self.num_failures += 1
        if self._retry.max_attempts is not None and self.num_failures >= self._retry.max_attempts:
            return None
        left_seconds = self._first_failure_seconds + self._retry.max_elapsed_seconds - now_seconds
        if left_seconds <= 0:
            return None
        told_seconds = error.details.retry_after_seconds
        if told_seconds is None:
            return min(self._retry.backoff_seconds(self.num_failures), left_seconds)
        return told_seconds * random.uniform(1.0, 1.2) if told_seconds < left_seconds else None


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
    if error.details.reason == "RE_ATTACH":
        text = "the connection reaches another server process than the one that has the sessions: open them again"
        return UnavailableError(text, error.details)
    if is_cut(error) and not isinstance(error, UnavailableError):
        return UnavailableError(str(error), error.details)
    return error


def is_refused_for_now(error: ElmanError) -> bool:
    """Whether the server asks for the same again later, on the same connection."""
    return isinstance(error, LimitReachedError) and error.retry_after_seconds is not None
