"""Every row that was accepted is answered exactly once: under churn, cancellation, overload and shutdown.

That no row ends twice is checked by `Ask.put` on every result; here it is that none is missing.
"""

import asyncio
from collections import Counter
from functools import partial
from typing import Any

import grpc
import numpy as np
import pytest
from engine_gate import EngineGate
from frames_on_wire import Stepper, make_frame
from refusals import refusal_of
from served import Serve, Served
from toys import SPECS, assert_near, random_input, toy

from elman.v1 import inference_pb2, sessions_pb2
from elman_server.door.elman_v1 import step_stream

SPEC = SPECS["lstm"]
RNG = np.random.default_rng(6)


async def churn(served: Served, seed: int, frames: int) -> Counter[str]:
    """Opens, steps, attaches and closes at random, some frames in flight; how its rows ended."""
    rng = np.random.default_rng(seed)
    stepper = await served.step()
    outcome: Counter[str] = Counter()
    flights = []
    for _ in range(frames):
        ids = [f"s{i}" for i in rng.choice(12, size=4, replace=False)]
        request = sessions_pb2.OpenSessionsRequest(model="lstm", session_ids=ids, mode=3)
        opened = await served.sessions.OpenSessions(request)
        handles = [handle for handle in opened.handles if handle]
        if handles:
            lengths = sorted(rng.integers(1, 30, len(handles)).tolist(), reverse=True)
            flights.append(await stepper.send(handles, [random_input(SPEC, rng, n) for n in lengths]))
        if rng.integers(3) == 0:
            await served.sessions.CloseSessions(sessions_pb2.CloseSessionsRequest(model="lstm", session_ids=ids[:2]))
    assert (await stepper.end()).name == "OK"
    for ask in flights:
        assert ask.is_over
        outcome.update(row.error.reason if row.error else "done" for row in ask.rows if not ask.refusal)
        outcome.update([ask.refusal.reason] if ask.refusal else [])
    return outcome


async def overload(callers: list[Served]) -> Counter[str]:
    """A frame of four rows of each, all there before the engine looks; how they ended."""
    steppers = [await caller.step() for caller in callers]
    opened = await callers[0].open("lstm", count=4)
    data = [random_input(SPEC, RNG, 1)] * 4
    outcome: Counter[str] = Counter()
    async with EngineGate(callers[0]) as engine_gate:
        asks = [await stepper.send(opened.handles, data) for stepper in steppers]
        await engine_gate.arrived(len(asks))
    for stepper, ask in zip(steppers, asks, strict=True):
        await stepper.finish(ask)
        outcome.update([ask.refusal.reason] if ask.refusal else [])
        assert (await stepper.end()).name == "OK"
    return outcome


async def test_under_churn_and_overload_every_row_ends_once_and_nothing_is_left(serve: Serve) -> None:
    served = await serve("lstm", max_sessions=10, when_full="evict", max_queue_rows=10, max_slice=4, max_rows=4)
    others = [Served(served.server, grpc.aio.insecure_channel(served.server.address)) for _ in range(3)]  # callers
    outcomes = await asyncio.gather(*(churn(one, seed, 25) for seed, one in enumerate([served, *others])))
    total = sum([*outcomes, await overload([served, *others])], Counter())
    assert set(total) <= {"done", "STALE_HANDLE", "LIMIT_REACHED", "SESSION_EXPIRED"}
    assert total["done"]
    assert total["LIMIT_REACHED"]
    for other in others:
        await other.channel.close()
    await served.assert_all_released()


async def test_cancelling_a_stream_drops_what_has_not_begun_and_leaves_others_their_room(serve: Serve) -> None:
    served = await serve("lstm", max_caller_rows=6)
    opened = await served.open("lstm", count=6)
    data = [random_input(SPEC, RNG, 1)] * 3
    leaving, staying = await served.step(), await served.step()  # one connection: one caller
    async with EngineGate(served) as engine_gate:
        await leaving.send(opened.handles[:3], data)
        await leaving.send(opened.handles[:3], data)
        await engine_gate.arrived(2)
        leaving.call.cancel()
        await engine_gate.arrived(3)
    for k in range(3):
        ask = await staying.ask(opened.handles[3:], data)
        assert [row.position for row in ask.rows] == [k + 1] * 3
    request = sessions_pb2.AttachSessionsRequest(model="lstm", session_ids=opened.session_ids[:3])
    again = await served.sessions.AttachSessions(request)
    assert list(again.positions) == [0, 0, 0]
    ask = await staying.ask(again.handles, data)
    assert_near(ask.rows[0].output, toy("lstm").run(data[0])[0])
    await served.assert_all_released()


async def test_a_half_closed_stream_is_answered_to_its_end(serve: Serve) -> None:
    served = await serve("lstm")
    opened = await served.open("lstm", count=4)
    stepper = await served.step()
    async with EngineGate(served) as engine_gate:
        asks = [await stepper.send(opened.handles, [random_input(SPEC, RNG, 20)] * 4) for _ in range(3)]
        await engine_gate.arrived(3)
        await stepper.call.done_writing()
    while await stepper.read():
        pass
    assert await stepper.call.code() is grpc.StatusCode.OK
    assert all(row.position for ask in asks for row in ask.rows)


@pytest.mark.parametrize("where", ["write_answer", "read_frame"])
async def test_a_bug_met_by_one_stream_ends_that_one_alone(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    served = await serve("lstm", max_caller_rows=4)
    opened = await served.open("lstm", count=4)
    data = [random_input(SPEC, RNG, 1)]
    unlucky, lucky = await served.step(), await served.step()  # one connection: one caller
    works = getattr(step_stream, where)

    def fails(*args: Any) -> Any:
        if (args[0] if where == "write_answer" else args[0].frame_id) == 666:
            raise ValueError("secret")
        return works(*args)

    monkeypatch.setattr(step_stream, where, fails)
    async with EngineGate(served) as engine_gate:
        await unlucky.send_raw(make_frame(666, opened.handles[:2], data * 2))
        ask = await lucky.send(opened.handles[2:], data * 2)
        await engine_gate.arrived(2 if where == "write_answer" else 1)
    assert (await lucky.finish(ask)).rows[0].position == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await unlucky.read()
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert "secret" not in (caught.value.details() or "")
    for _ in range(5):  # the caller has its room back
        await lucky.ask(opened.handles[2:], data * 2)
    await served.assert_all_released()
    (caller,) = served.server.door.callers._callers.values()
    while caller.rows:  # an answer may be read before its sender knows that it was sent
        await served.health_of("")
    assert (caller.rows, caller.num_bytes, caller.streams) == (0, 0, 1)


def when_called(owner: Any, name: str) -> asyncio.Event:
    """Set once the method has been called."""
    event, method = asyncio.Event(), getattr(owner, name)
    tell = partial(asyncio.get_running_loop().call_soon_threadsafe, event.set)
    setattr(owner, name, lambda: (method(), tell()))
    return event


async def test_at_a_stop_everything_admitted_is_answered_and_the_stream_ends_unavailable(serve: Serve) -> None:
    served = await serve("lstm")
    opened = await served.open("lstm", count=4)
    stepper, idle = await served.step(), await served.step()
    inference, sessions = served.inference, served.sessions
    whole = inference_pb2.InferRequest(
        model="lstm", lengths=[2], input={"dtype": 1, "shape": [2, 3], "data": bytes(24)}
    )
    streams_told = when_called(served.server._inference, "end_streams")
    async with EngineGate(served) as engine_gate:
        asks = [await stepper.send(opened.handles, [random_input(SPEC, RNG, 20)] * 4) for _ in range(3)]
        infer = inference.Infer(whole)
        await engine_gate.arrived(4)
        stopping = asyncio.create_task(served.server.stop())
        await streams_told.wait()
        late = await stepper.send(opened.handles, [random_input(SPEC, RNG, 1)] * 4)
        await stepper.finish(late)
        assert late.refusal
        assert (late.refusal.code, late.refusal.reason) == ("UNAVAILABLE", "DRAINING")
        assert "reconnect" in late.refusal.message
    for ask in asks:
        await stepper.finish(ask)
        assert all(row.position for row in ask.rows)
    assert (await infer).version == "1"
    for stream in (stepper, idle):
        with pytest.raises(grpc.aio.AioRpcError):
            await stream.read()
        assert await stream.call.code() is grpc.StatusCode.UNAVAILABLE
    await stopping
    refusal = await refusal_of(sessions.OpenSessions(sessions_pb2.OpenSessionsRequest(model="lstm", count=1)))
    assert refusal.code == "UNAVAILABLE"


async def test_a_caller_that_reads_nothing_is_not_refused_without_end(serve: Serve) -> None:
    served = await serve("lstm", max_caller_rows=50)
    stepper = await served.step()
    (stream,) = served.server._inference._streams
    silent: Any = stream._call
    silent.send = lambda *_: None  # it is never sent
    request = make_frame(1, [666], [random_input(SPEC, RNG, 1)])
    writes = asyncio.create_task(write_on(stepper, request))
    caller: Any = stream.caller
    while not caller.is_full:
        await served.health_of("")
    for _ in range(50):
        await served.health_of("")
    writes.cancel()
    assert caller.rows == len(stream._outbox) + len(stream._sending) == 50


async def write_on(stepper: Stepper, request: Any) -> None:
    while True:
        await stepper.call.write(request)


@pytest.mark.parametrize(("limit", "value"), [("max_caller_rows", 4), ("max_caller_bytes", 4 * SPEC.input_size * 4)])
async def test_a_stream_whose_caller_is_full_is_read_again_once_answers_are_read(
    serve: Serve, limit: str, value: int
) -> None:
    # The queue holds two frames: one more that is read than waits for its caller would be refused.
    served = await serve("lstm", max_queue_rows=8, **{limit: value})
    opened = await served.open("lstm", count=4)
    stepper = await served.step()
    asks = [await stepper.send(opened.handles, [random_input(SPEC, RNG, 1)] * 4) for _ in range(50)]
    for k, ask in enumerate(asks, 1):
        await stepper.finish(ask)
        assert [row.position for row in ask.rows] == [k] * 4


async def test_a_burst_of_many_rows_well_past_the_limits_waits_with_its_caller(serve: Serve) -> None:
    served = await serve("lstm", max_caller_rows=32, max_queue_rows=48)
    opened = await served.open("lstm", count=16)
    inputs = [random_input(SPEC, RNG, 40) for _ in opened.handles]
    stepper = await served.step()
    asks = [await stepper.send(opened.handles, [row[k : k + 1] for row in inputs]) for k in range(40)]
    for ask in asks:
        await stepper.finish(ask)
        assert not ask.refusal
    for row, given in enumerate(inputs):
        assert_near(np.concatenate([ask.rows[row].output for ask in asks]), toy("lstm").run(given)[0])
    await served.assert_all_released()
