"""The SDK on sessions that a real server ended."""

from datetime import UTC, datetime

import numpy as np
import pytest
from served import Serve
from stepped import FakeClock

import elman

X = np.ones((3, 3), np.float32)


async def test_a_step_of_an_expired_session_is_told_that_when_and_where_it_ended(serve: Serve) -> None:
    clock = FakeClock()
    served = await serve("lstm", clock=clock, idle_timeout_seconds=5)
    async with elman.AsyncClient(served.server.address) as client:
        session = await (await client.model("lstm")).session(id="gone")
        await session.step(X)
        clock.time += 6
        await served.expire()
        for _ in range(2):
            with pytest.raises(elman.SessionExpiredError, match=r"'gone' was expired at .*, at position 3;") as caught:
                await session.step(X)
            assert caught.value.position == session.position == 3
            assert caught.value.end_time == datetime.fromtimestamp(clock.wall(clock.time), UTC)
