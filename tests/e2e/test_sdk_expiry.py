"""The SDK on sessions that a real server ended."""

from datetime import UTC, datetime

import numpy as np
import pytest
from served import Serve
from stepped_engine import FakeClock
from toys import assert_near, toy

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


async def test_an_expired_id_begins_anew_at_0_where_that_is_asked_for_and_one_that_lives_is_left_alone(
    serve: Serve,
) -> None:
    clock = FakeClock()
    served = await serve("lstm", clock=clock, idle_timeout_seconds=5)
    async with elman.AsyncClient(served.server.address) as client:
        model = await client.model("lstm")
        async with model.session(id="gone") as session:
            await session.step(X)
        clock.time += 6
        await served.expire()
        with pytest.raises(elman.SessionExpiredError):
            await model.session(id="gone")
        async with model.session(id="gone", mode="new") as session:
            for position in (0, 3):
                with pytest.raises(elman.SessionExistsError) as caught:
                    await model.session(id="gone", mode="new")
                assert caught.value.position == session.position == position
                output = await session.step(X)
                if position == 0:
                    assert_near(output, toy("lstm").run(X)[0])
        async with model.session(id="gone") as session:
            assert session.position == 6
