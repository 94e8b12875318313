"""Sessions that end with the stream that drives them, for callers that die without saying so."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio
from cutting_proxy import CuttingProxy
from engine_gate import EngineGate
from frames_on_wire import Stepper
from refusals import Refusal
from served import OPTIONS, Served, serving
from toys import assert_near, random_input, toy, write_toys
from until import until

import elman
from elman.testing import FakeModel, FakeServer
from elman.v1 import inference_pb2_grpc, sessions_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")
RNG = np.random.default_rng(7)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serving(write_toys(tmp_path_factory.mktemp("disconnected"), ["gru"]), max_slice=3) as served:
        yield served


def x(steps: int = 3) -> Any:
    return random_input(toy("gru").spec, RNG, steps)


async def ids(served: Served) -> set[str]:
    """Of the sessions that there are."""
    listed = await served.sessions.ListSessions(sessions_pb2.ListSessionsRequest(model="gru"))
    return {session.session_id for session in listed.sessions}


async def resuming(served: Served, session_id: str) -> Refusal:
    """Why it cannot be resumed."""
    request = sessions_pb2.AttachSessionsRequest(model="gru", session_ids=[session_id])
    (error,) = (await served.sessions.AttachSessions(request)).errors
    return Refusal.of(error.status)


HOWS = ("cancelled", "half-closed", "the connection")


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("together", [False, True])
async def test_a_stream_that_ends_ends_the_sessions_that_it_drove_and_no_others(
    served: Served, how: str, together: bool
) -> None:
    """`together`: in one frame, which no door takes by columns."""
    mine = await served.open("gru", "a", "b", end_on_disconnect=True)
    kept = await served.open("gru", "unstepped", end_on_disconnect=True)
    other = await served.open("gru", "other")
    proxy = await CuttingProxy(served.server.address, 1 << 40, seed=1).__aenter__()
    channel = grpc.aio.insecure_channel(proxy.address, OPTIONS)
    stub: Any = inference_pb2_grpc.InferenceStub(channel)
    stepper = await Stepper.begin(stub)
    frames = [mine.handles] if together else [[handle] for handle in mine.handles]
    for handles in (*frames, other.handles):
        await stepper.ask(handles, [x()] * len(handles))
    if how == "the connection":
        await proxy.__aexit__(None, None, None)
    elif how == "cancelled":
        stepper.call.cancel()
    else:
        await stepper.end()
    await until(lambda: served.runtime("gru").sessions.num_open == 2)
    assert await ids(served) == {"unstepped", "other"}
    refusal = await resuming(served, "a")
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "SESSION_EXPIRED")
    assert (refusal.says["cause"], refusal.says["position"]) == ("disconnected", "3")
    assert "ended with the stream that drove it" in refusal.message
    again = await served.step()
    assert (await again.ask(other.handles, [x()])).rows[0].position == 6
    assert (await again.ask(kept.handles, [x()])).rows[0].position == 3
    again.call.cancel()
    await until(lambda: served.runtime("gru").sessions.num_open == 1)
    await served.sessions.CloseSessions(sessions_pb2.CloseSessionsRequest(model="gru", session_ids=["other"]))
    assert await served.on_engine(lambda: served.runtime("gru").sessions.num_ending) == 0
    await channel.close()
    if how != "the connection":
        await proxy.__aexit__(None, None, None)


async def test_what_has_begun_runs_to_its_end_and_what_has_not_is_dropped(served: Served) -> None:
    opened = await served.open("gru", "busy", end_on_disconnect=True)
    stepper = await served.step()
    async with EngineGate(served) as gate:
        await stepper.send(opened.handles, [x(9)])
        await gate.arrived(1)
        stepper.call.cancel()
    await until(lambda: served.runtime("gru").sessions.num_open == 0)
    assert (await resuming(served, "busy")).says["cause"] == "disconnected"
    await served.assert_all_released()


async def test_a_session_that_was_attached_again_is_not_the_old_streams_any_more(served: Served) -> None:
    opened = await served.open("gru", "moved", end_on_disconnect=True)
    old, new = await served.step(), await served.step()
    first, second = x(), x()
    await old.ask(opened.handles, [first])
    attach = sessions_pb2.AttachSessionsRequest(model="gru", session_ids=["moved"])
    attached = await served.sessions.AttachSessions(attach)
    await old.end()
    ended = (await new.ask(attached.handles, [second])).rows[0]
    assert_near(ended.output, toy("gru").run(np.concatenate([first, second]))[0][3:])
    await new.end()
    await until(lambda: served.runtime("gru").sessions.num_open == 0)


async def test_who_resumes_a_session_may_say_it_anew_and_forks_are_as_their_session(served: Served) -> None:
    await served.open("gru", "a")
    mode = sessions_pb2.OPEN_MODE_RESUME
    stepper = await served.step()
    resumed = await served.open("gru", "a", mode=mode, end_on_disconnect=True)
    fork = await served.sessions.ForkSession(
        sessions_pb2.ForkSessionRequest(model="gru", session_id="a", session_ids=["b", "c"])
    )
    await stepper.ask([*resumed.handles, *fork.handles[:1]], [x()] * 2)
    spared = await served.open("gru", "c", mode=mode, end_on_disconnect=False)
    await stepper.ask(spared.handles, [x()])
    await stepper.end()
    await until(lambda: served.runtime("gru").sessions.num_open == 1)
    assert await ids(served) == {"c"}
    await served.sessions.CloseSessions(sessions_pb2.CloseSessionsRequest(model="gru", session_ids=["c"]))


async def test_a_servers_setting_says_it_for_whoever_does_not(served: Served, tmp_path_factory: Any) -> None:
    folder = write_toys(tmp_path_factory.mktemp("by setting"), ["gru"])
    async with serving(folder, end_on_disconnect=True) as other:
        opened, spared = await other.open("gru", "a"), await other.open("gru", "b", end_on_disconnect=False)
        stepper = await other.step()
        await stepper.ask([*opened.handles, *spared.handles], [x()] * 2)
        await stepper.end()
        await until(lambda: other.runtime("gru").sessions.num_open == 1)
        assert await ids(other) == {"b"}


async def test_a_client_that_is_gone_leaves_no_session_and_its_session_says_why(served: Served) -> None:
    async with elman.AsyncClient(served.server.address) as client:
        session = await (await client.model("gru")).session("dies", end_on_disconnect=True)
        await session.step(x())
    await until(lambda: served.runtime("gru").sessions.num_open == 0)
    async with elman.AsyncClient(served.server.address) as client:
        with pytest.raises(elman.SessionExpiredError, match="ended with the stream that drove it") as caught:
            await (await client.model("gru")).session("dies")
        assert caught.value.position == 3
    closing = sessions_pb2.CloseSessionsRequest(model="gru", session_ids=["dies"])
    (error,) = (await served.sessions.CloseSessions(closing)).errors
    assert Refusal.of(error.status).reason == "SESSION_EXPIRED"


async def test_the_fake_server_knows_it() -> None:
    def fake() -> None:
        with FakeServer([FakeModel("sum", input_size=2)]) as address:
            with elman.Client(address) as client:
                client.model("sum").session("dies", end_on_disconnect=True).step([[1, 2]])
                client.model("sum").session("stays").step([[1, 2]])
            with elman.Client(address) as client:
                while len(list(client.model("sum").list_sessions())) > 1:
                    pass  # the fake server has yet to hear that the stream has ended
                with pytest.raises(elman.SessionExpiredError, match="ended with the stream that drove it"):
                    client.model("sum").session("dies")

    await asyncio.to_thread(fake)
