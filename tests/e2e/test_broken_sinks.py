"""A bug in what takes an answer: its caller is told, by the end of its call or stream, and others go on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np
import pytest
from served import Serve, Served
from toys import SPECS, random_input

from elman import wire
from elman.v1 import inference_pb2
from elman_server.door.elman_v1.step_stream import StepStream
from elman_server.door.infer_result import InferCall
from elman_server.door.native.single_rows import SingleRows
from elman_server.door.oip.inference import Call
from elman_server.door.oip.stream import InferStream
from elman_server.door.oip.stubs import grpc_service_pb2 as oip
from elman_server.door.oip.stubs import grpc_service_pb2_grpc

RNG = np.random.default_rng(13)
SPEC = SPECS["lstm"]
TOLD = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}


def broken(*_: object) -> Any:
    raise IndexError("index is out of bounds")


async def step(served: Served, num_rows: int) -> None:
    stepper = await served.step()
    opened = await served.open("lstm", count=num_rows)
    ask = await stepper.send(list(opened.handles), [random_input(SPEC, RNG, 1)] * num_rows)
    await stepper.finish(ask)


async def infer(served: Served) -> None:
    data = wire.to_tensor(random_input(SPEC, RNG, 3))
    await served.inference.Infer(inference_pb2.InferRequest(model="lstm", lengths=[3], input=data))


def oip_request() -> Any:
    request = oip.ModelInferRequest(model_name="lstm", id="7")
    data = random_input(SPEC, RNG, 2)[:, None]
    request.inputs.add(name="input", datatype="FP32", shape=data.shape)
    request.raw_input_contents.append(data.tobytes())
    return request


async def oip_infer(served: Served) -> None:
    stub: Any = grpc_service_pb2_grpc.GRPCInferenceServiceStub(served.channel)
    await stub.ModelInfer(oip_request())


async def oip_stream(served: Served) -> None:
    stub: Any = grpc_service_pb2_grpc.GRPCInferenceServiceStub(served.channel)
    stream = stub.ModelStreamInfer()
    await stream.write(oip_request())
    assert await stream.read() is not grpc.aio.EOF


CASES: list[tuple[list[type], Callable[[Served], Awaitable[None]]]] = [
    ([StepStream], lambda served: step(served, 3)),
    ([StepStream, SingleRows], lambda served: step(served, 1)),  # whichever the door has
    ([InferCall], infer),
    ([Call], oip_infer),
    ([InferStream], oip_stream),
]


@pytest.mark.parametrize(("sinks", "ask"), CASES)
async def test_who_waits_for_an_answer_that_meets_a_bug_is_told_and_the_next_is_answered(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, sinks: list[type], ask: Callable[[Served], Awaitable[None]]
) -> None:
    served = await serve("lstm")
    with monkeypatch.context() as patch:
        for sink in sinks:
            patch.setattr(sink, "on_result", broken)
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await asyncio.wait_for(ask(served), 60)
    assert told.value.code() in TOLD
    await asyncio.wait_for(ask(served), 60)
    assert not served.server.failed.is_set()
