"""Pages of a model's sessions: each is listed once, and what lies between costs nothing."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman_server.sessions import table as module
from elman_server.sessions.handles import HandleKey
from elman_server.sessions.table import Sessions

KEY = HandleKey()
ENDS = st.lists(st.tuples(st.sampled_from(["mine", "other"]), st.booleans()), max_size=60)


def make(owners: list[tuple[str, bool]]) -> Sessions:
    """A session for each owner; those that are to end have ended."""
    sessions = Sessions(0, KEY, max(1, len(owners)), 3)
    slots = sessions.take(len(owners), 0.0)
    for slot, (principal, _) in zip(slots.tolist(), owners, strict=True):
        sessions.own(np.array([slot]), principal, [f"s{slot}"])
    sessions.attach(slots, 0.0)
    sessions.free(slots[[ends for _, ends in owners]] if owners else slots)
    return sessions


def listed(sessions: Sessions, count: int) -> list[int]:
    """All pages."""
    found: list[int] = []
    first: int | None = 0
    while first is not None:
        slots, following = sessions.page("mine", first, count)
        assert len(slots) <= count
        assert following is None or following > first
        found, first = found + slots, following
    return found


@given(owners=ENDS, count=st.integers(1, 9), block=st.integers(1, 8))
def test_each_of_the_principals_sessions_is_listed_once(owners: list[tuple[str, bool]], count: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SLOTS_AT_ONCE", block)
        there = [i for i, (principal, ends) in enumerate(owners) if principal == "mine" and not ends]
        assert listed(make(owners), count) == there


class Watched:
    """A column that counts the slots looked at."""

    def __init__(self, column: Any) -> None:
        self._column = column
        self.num_looked_at = 0

    def __getitem__(self, slots: Any) -> Any:
        found = self._column[slots]
        self.num_looked_at += len(found)
        return found


def test_blocks_without_sessions_are_not_looked_at() -> None:
    count = 100 * module.SLOTS_AT_ONCE
    sessions = make([("mine", slot not in (5, count - 1)) for slot in range(count)])
    watched = Watched(sessions._attached)
    sessions._attached = watched  # type: ignore[assignment]
    assert sessions.page("mine", 0, 10) == ([5, count - 1], None)
    assert watched.num_looked_at <= 2 * module.SLOTS_AT_ONCE


def test_a_page_ends_early_where_many_others_lie_between() -> None:
    count = 10 * module.SLOTS_AT_ONCE
    sessions = make([("mine" if slot in (0, count - 1) else "other", False) for slot in range(count)])
    watched = Watched(sessions._attached)
    sessions._attached = watched  # type: ignore[assignment]
    slots, following = sessions.page("mine", 0, 10)
    assert (slots, following) == ([0], module.SLOTS_AT_ONCE)
    assert watched.num_looked_at <= 2 * module.SLOTS_AT_ONCE
    sessions._attached = watched._column
    assert listed(sessions, 10) == [0, count - 1]
