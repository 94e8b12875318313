"""Fixtures of the server's tests; the end-to-end tests have the same."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import settings
from served import folder, serve  # noqa: F401

settings.register_profile("elman", deadline=None)  # other work on the machine is no failure
settings.load_profile("elman")


@pytest.fixture
async def raw() -> AsyncIterator[Any]:
    """A `raw_door.RawDoor`, ended after the test."""
    from raw_door import RawDoor  # here: it may not be installed

    door = RawDoor()
    yield door
    await door.end()
