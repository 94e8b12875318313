"""A bug that stays, in the engine's own steps: it ends, everybody is told, and the process with it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from engine_gate import EngineGate
from frames_on_wire import Ask, Stepper
from refusals import Refusal
from served import Serve, Served
from toys import SPECS, random_input
from until import until

from elman import wire
from elman.v1 import inference_pb2, sessions_pb2
from elman_server.door.oip.stubs import grpc_service_pb2 as oip
from elman_server.door.oip.stubs import grpc_service_pb2_grpc
from elman_server.engine.commit import settle

RNG = np.random.default_rng(12)
SPEC = SPECS["lstm"]


def broken(*_: object, **__: object) -> Any:
    raise IndexError("index is out of bounds")


def break_admission(served: Served, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("elman_server.engine.admission.Arrivals", broken)


def break_forming(served: Served, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(served.runtime("lstm").scheduler, "form", broken)


def break_gathering(served: Served, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(served.runtime("lstm").inputs, "gather", broken)


def break_settling(served: Served, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("elman_server.engine.commit.settle", broken)


def break_settling_half_done(served: Served, patch: pytest.MonkeyPatch) -> None:
    def settles(*args: Any) -> Any:
        settle(*args)
        broken()

    patch.setattr("elman_server.engine.commit.settle", settles)


def break_tidying(served: Served, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(served.runtime("lstm").replay_buffer, "keep", broken)


def break_cutting(served: Served, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("elman_server.exchange.batch_result.BatchResult.cut", broken)


BREAKS: list[Callable[[Served, pytest.MonkeyPatch], None]] = [
    break_admission,
    break_forming,
    break_gathering,
    break_settling,
    break_settling_half_done,
    break_tidying,
    break_cutting,
]


class Asked:
    """Everything that can be open at a time."""

    def __init__(self, served: Served, steppers: list[Stepper], handles: list[int]) -> None:
        self.served = served
        self.steppers = steppers
        self.handles = handles
        self.stub: Any = grpc_service_pb2_grpc.GRPCInferenceServiceStub(served.channel)
        self.stream = self.stub.ModelStreamInfer()

    @classmethod
    async def of(cls, served: Served) -> "Asked":
        opened = await served.open("lstm", *[f"s{i}" for i in range(8)])
        asked = cls(served, [await served.step(), await served.step()], list(opened.handles))
        # Else it might begin after the engine's end, which is a refusal by its status.
        await asked.stream.write(asked.oip())
        assert not (await asyncio.wait_for(asked.stream.read(), 60)).error_message
        return asked

    async def steps(self) -> list[Any]:
        """Frames of one row and of several, of many steps and one."""
        one, other = self.steppers
        return [
            await one.send(
                self.handles[:3], [random_input(SPEC, RNG, length) for length in (40, 2, 1)], return_state=True
            ),
            await one.send(self.handles[3:4], [random_input(SPEC, RNG, 1)]),
            await other.send(self.handles[4:], [random_input(SPEC, RNG, 1)] * 4),
        ]

    def infer(self) -> Any:
        data = random_input(SPEC, RNG, 3)
        return self.served.inference.Infer(
            inference_pb2.InferRequest(model="lstm", lengths=[3], input=wire.to_tensor(data))
        )

    def oip(self) -> Any:
        request = oip.ModelInferRequest(model_name="lstm", id="7")
        request.parameters["sequence_id"].int64_param = 5
        request.parameters["sequence_start"].bool_param = True
        data = random_input(SPEC, RNG, 2)[:, None]
        request.inputs.add(name="input", datatype="FP32", shape=data.shape)
        request.raw_input_contents.append(data.tobytes())
        return request


def refusals(ask: Ask) -> list[Refusal]:
    """Of a frame, or of its rows."""
    return [error for error in (ask.refusal, *(row.error for row in ask.rows)) if error]


async def everybody_is_told(
    served: Served, asked: Asked, engine_gate: EngineGate | None = None, *, may_answer: bool = False
) -> None:
    """Once with everything open, and with all that comes after."""
    stream = asked.stream
    await stream.write(asked.oip())
    asks = await asked.steps()
    calls = [asyncio.ensure_future(asked.infer()), asyncio.ensure_future(asked.stub.ModelInfer(asked.oip()))]
    if engine_gate:
        await engine_gate.arrived(3)
        engine_gate.open()
    for ask, stepper in zip(asks, [*asked.steppers[:1] * 2, asked.steppers[1]], strict=True):
        await asyncio.wait_for(stepper.finish(ask), 60)  # which asserts that no row ends twice
        assert {refusal.reason for refusal in refusals(ask)} <= {"ENGINE_FAILED"}
    answer = await asyncio.wait_for(stream.read(), 60)
    told = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
    errors = [error for error in told if isinstance(error, grpc.aio.AioRpcError)]
    assert {error.code() for error in errors} <= {grpc.StatusCode.INTERNAL}
    # What was answered before the bug was met stays answered.
    num_refused = sum(bool(refusals(ask)) for ask in asks) + ("engine" in answer.error_message) + len(errors)
    assert num_refused >= 1 if may_answer else num_refused == len(asks) + 1 + len(calls)
    await asyncio.wait_for(served.server.failed.wait(), 60)
    await nothing_more_is_taken(served, asked)
    stream.cancel()


async def nothing_more_is_taken(served: Served, asked: Asked) -> None:
    for ask in await asked.steps():
        stepper = asked.steppers[0] if ask in asked.steppers[0].asks.values() else asked.steppers[1]
        await asyncio.wait_for(stepper.finish(ask), 60)
        assert ask.refusal.reason == "ENGINE_FAILED"
    await asked.stream.write(asked.oip())
    assert "engine" in (await asyncio.wait_for(asked.stream.read(), 60)).error_message
    for call in (asked.infer(), served.sessions.OpenSessions(sessions_pb2.OpenSessionsRequest(model="lstm", count=1))):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asyncio.wait_for(call, 60)
        assert refused.value.code() is grpc.StatusCode.INTERNAL
        assert "engine" in (refused.value.details() or "")
    assert await served.health_of("") == await served.health_of("lstm") == "NOT_SERVING"


def bugs_told(caplog: pytest.LogCaptureFixture) -> int:
    return len([record for record in caplog.records if record.levelno >= logging.ERROR])


@pytest.mark.parametrize("break_it", BREAKS)
async def test_a_bug_that_stays_ends_the_engine_and_everybody_is_told(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, break_it: Any
) -> None:
    served = await serve("lstm")
    asked = await Asked.of(served)
    break_it(served, monkeypatch)
    await everybody_is_told(served, asked, may_answer=break_it is break_tidying)
    assert bugs_told(caplog) == 1


async def test_what_waits_behind_a_long_job_is_told_too(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve("lstm")
    asked = await Asked.of(served)
    async with EngineGate(served) as engine_gate:
        break_forming(served, monkeypatch)
        await everybody_is_told(served, asked, engine_gate)
    assert bugs_told(caplog) == 1


async def test_a_stop_that_meets_it_answers_and_ends(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve("lstm")
    asked = await Asked.of(served)
    async with EngineGate(served) as engine_gate:
        break_forming(served, monkeypatch)
        asks = await asked.steps()
        infer = asyncio.ensure_future(asked.infer())
        await engine_gate.arrived(4)
        stopping = asyncio.ensure_future(served.server.stop())
        await until(lambda: served.server.door.draining)
    for ask, stepper in zip(asks, [*asked.steppers[:1] * 2, asked.steppers[1]], strict=True):
        await asyncio.wait_for(stepper.finish(ask), 60)
        assert {row.error and row.error.reason for row in ask.rows} == {"ENGINE_FAILED"}
    with pytest.raises(grpc.aio.AioRpcError, match="engine"):
        await asyncio.wait_for(infer, 60)
    await asyncio.wait_for(stopping, 60)
    assert served.server.failed.is_set()
    assert bugs_told(caplog) == 1


async def test_a_bug_in_a_job_of_others_is_theirs_alone(serve: Serve) -> None:
    served = await serve("lstm")
    with pytest.raises(IndexError):
        await served.on_engine(broken)
    opened, stepper = await served.open("lstm", count=1), await served.step()
    assert (await stepper.ask(opened.handles, [random_input(SPEC, RNG, 1)])).rows[0].position == 1
    assert await served.health_of("") == "SERVING"
