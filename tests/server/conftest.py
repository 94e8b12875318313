"""Fixtures of the server's tests; the end-to-end tests have the same."""

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from served import folder, serve  # noqa: F401


@pytest.fixture(params=["one core", "all cores"])
async def raw(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """A `raw_door.RawDoor`, ended after the test. It is begun as on one core, where its thread rests, and otherwise."""
    from raw_door import RawDoor  # here: it may not be installed

    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)} if request.param == "one core" else cores)
    try:
        door = RawDoor()
    finally:
        os.sched_setaffinity(0, cores)
    yield door
    await door.end()
