"""How long something is tried again: by time, from the first failure since the last progress."""

import itertools
import math

import pytest

import elman
from elman._shared.retry import RetryState

GONE = elman.UnavailableError("gone")


class Clock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def told(seconds: float) -> elman.ElmanError:
    return elman.LimitReachedError("full", elman.ErrorDetails(retry_after_seconds=seconds))


@pytest.mark.parametrize("try_seconds", [0.001, 1.0, 7.0])
def test_a_dead_connection_is_given_up_after_the_time_however_fast_it_fails(try_seconds):
    clock = Clock()
    state = RetryState(elman.Retry(max_elapsed_seconds=60), clock)
    begin = clock.seconds
    while (delay := state.failed(GONE)) is not None:
        clock.seconds += delay + try_seconds
    assert 60 <= clock.seconds - begin <= 60 + try_seconds + 1e-6


def test_progress_starts_time_and_waits_anew():
    clock = Clock()
    state = RetryState(elman.Retry(max_elapsed_seconds=10, initial_backoff_seconds=0.1), clock)
    for _ in range(100):
        for _ in range(3):
            assert state.failed(GONE) is not None
            clock.seconds += 3
        state.progressed()
    assert state.failed(GONE) <= 0.1


def test_hundreds_of_failures_in_a_row_are_outlasted_where_they_take_no_time():
    state = RetryState(elman.Retry(), Clock())
    assert all(state.failed(GONE) is not None for _ in range(2000))


def test_the_clock_starts_at_the_first_failure_and_not_before():
    clock = Clock()
    state = RetryState(elman.Retry(max_elapsed_seconds=10), clock)
    clock.seconds += 3600  # all was well for an hour
    assert state.failed(GONE) is not None


def test_tries_may_be_bounded_too():
    state = RetryState(elman.Retry(max_attempts=3), Clock())
    assert [state.failed(GONE) is None for _ in range(3)] == [False, False, True]


def test_no_time_means_no_retry():
    assert RetryState(elman.Retry(max_elapsed_seconds=0), Clock()).failed(GONE) is None


def test_what_the_server_says_is_waited_for_if_there_is_time():
    state = RetryState(elman.Retry(max_elapsed_seconds=10), Clock())
    assert 2 <= state.failed(told(2)) <= 2.4
    assert state.failed(told(20)) is None


def test_backoff_doubles_to_its_limit_and_has_jitter():
    retry = elman.Retry(initial_backoff_seconds=1, max_backoff_seconds=5)
    for attempt, longest in enumerate((1, 2, 4, 5, 5), start=1):
        waits = {retry.backoff_seconds(attempt) for _ in range(50)}
        assert len(waits) > 1
        assert all(longest / 2 <= wait <= longest for wait in waits)
    assert retry.backoff_seconds(10**6) <= 5


FIELDS = ("max_elapsed_seconds", "initial_backoff_seconds", "max_backoff_seconds", "max_attempts")


@pytest.mark.parametrize(
    ("field", "value"),
    [*itertools.product(FIELDS, (-1,)), *itertools.product(FIELDS[:3], (math.nan, math.inf)), ("max_attempts", 0)],
)
def test_a_retry_out_of_range_is_refused_with_what_was_expected(field, value):
    with pytest.raises(elman.InvalidInputError, match=f"{field}: expected at least"):
        elman.Retry(**{field: value})


@pytest.mark.parametrize(("field", "value"), [*itertools.product(FIELDS, ("1", True, [1]))])
def test_a_retry_of_the_wrong_type_is_refused_with_what_was_expected(field, value):
    with pytest.raises(TypeError, match=f"{field}: expected a"):
        elman.Retry(**{field: value})
