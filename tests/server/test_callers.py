"""What callers have outstanding is counted until it has ended, whatever streams and calls come and go."""

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest
from engine_gate import EngineGate
from served import Serve, Served
from toys import SPECS, random_input
from until import until

from elman import wire
from elman.v1 import inference_pb2
from elman_server.config.server_config import Limits
from elman_server.door.caller_limits import Callers
from elman_server.door.infer_result import InferCall
from elman_server.errors import LimitReached
from elman_server.exchange.answers import refusal
from elman_server.threads.mailbox import LoopCalls

RNG = np.random.default_rng(8)
SPEC = SPECS["lstm"]


def test_a_caller_that_comes_back_meets_what_it_left_and_one_without_debt_is_forgotten() -> None:
    callers = Callers(Limits(max_caller_rows=4))
    caller = callers.enter("a")
    caller.add(4, 10)
    callers.leave(caller)
    again = callers.enter("a")
    assert again is caller
    assert again.is_full
    with pytest.raises(LimitReached):
        callers.charge("a", 1, 1)
    callers.leave(again)
    caller.add(-4, 0)
    assert list(callers._callers) == ["a"]
    caller.add(0, -10)
    assert not callers._callers
    new = callers.enter("a")
    assert new is not caller
    assert not new.is_full
    callers.leave(new)
    charge = callers.charge("a", 2, 2)
    assert list(callers._callers) == ["a"]
    for _ in range(2):
        charge.release()
    assert not callers._callers


async def test_an_infer_whose_frame_is_refused_later_ends_with_that_error() -> None:
    frame: Any = type("Frame", (), {"open_rows": 3})()
    loop = asyncio.get_running_loop()
    loop_calls, future = LoopCalls(loop), loop.create_future()
    call = InferCall(future, loop_calls)
    call.on_result(frame, refusal(LimitReached("no room")))
    loop_calls.flush()
    with pytest.raises(LimitReached, match="no room"):
        await asyncio.wait_for(future, 10)
    assert frame.open_rows == 0


async def assert_gone_owing(served: Served, rows: int) -> None:
    """Returns when no stream and no call is there, though they left what they asked for."""
    callers = served.server.door.callers._callers
    await until(lambda: not any(caller.streams for caller in callers.values()))
    assert [caller.rows for caller in callers.values()] == [rows]


async def test_what_a_stream_and_a_call_leave_behind_counts_until_it_has_ended(serve: Serve) -> None:
    served = await serve("lstm", max_caller_rows=5)
    opened = await served.open("lstm", count=5)
    async with EngineGate(served) as engine_gate:
        stepper = await served.step()
        await stepper.send(opened.handles[:3], [random_input(SPEC, RNG, 1)] * 3)
        data = wire.to_tensor(random_input(SPEC, RNG, 2))
        request = inference_pb2.InferRequest(model="lstm", lengths=[1, 1], input=data)
        infer = served.inference.Infer(request)
        await engine_gate.arrived(2)
        stepper.call.cancel()
        infer.cancel()
        await assert_gone_owing(served, 5)
        with pytest.raises(grpc.aio.AioRpcError, match="max_caller_rows"):
            await served.inference.Infer(request)
    await until(lambda: not served.server.door.callers._callers)
    assert (await served.inference.Infer(request)).version == "1"
    await served.assert_all_released()
