"""Errors as statuses."""

import pytest
from refusals import Refusal

from elman_server import errors
from elman_server.door.elman_v1.status import code_of, to_status
from elman_server.errors import BrokenBundle, LimitReached, ServiceError
from elman_server.telemetry.metrics import CODES


def tree(root: type[ServiceError]) -> list[type[ServiceError]]:
    kinds = [kind for child in root.__subclasses__() for kind in (child, *tree(child))]
    return [kind for kind in kinds if kind.__module__ == errors.__name__]


def test_every_error_has_a_code_that_is_counted_and_a_reason_of_its_own() -> None:
    kinds = tree(ServiceError)
    assert len(kinds) > 10
    assert all(code_of(kind("text")).name in CODES for kind in kinds)
    assert len({kind.reason for kind in kinds}) == len(kinds)
    assert ServiceError.reason not in {kind.reason for kind in kinds}


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    for kind in tree(ServiceError):
        assert f"── {kind.__name__} " in (errors.__doc__ or "")


def test_a_message_is_no_longer_than_trailers_may_be_and_is_whole_in_the_log() -> None:
    error = BrokenBundle("é" * 3000)
    status = to_status(error)
    assert status.message == "é" * 1000 + " ... (4000 bytes more)"
    assert str(error) == "é" * 3000
    assert len(status.SerializeToString()) < 2100
    assert to_status(BrokenBundle("x" * 2000)).message == "x" * 2000


@pytest.mark.parametrize("seconds", [None, 0.05])
def test_a_status_says_why_and_when_to_retry(seconds: float | None) -> None:
    status = to_status(LimitReached("full", metadata={"limit": "x", "value": 3}, retry_seconds=seconds))
    refusal = Refusal.of(status)
    assert refusal == Refusal("RESOURCE_EXHAUSTED", "full", "LIMIT_REACHED", (("limit", "x"), ("value", "3")), seconds)
