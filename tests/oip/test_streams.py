"""ModelStreamInfer: what is in flight together, in which order it is answered, and how a stream ends."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from holding import held, until, until_read
from oip_requests import Stream, request, stream_of, tensor
from served import Serve
from server_process import server_process
from toys import assert_near, random_input, toy

from elman_server.door.oip.stubs.grpc_service_pb2_grpc import GRPCInferenceServiceStub


def steps(model: str, count: int, seed: int = 0) -> Any:
    return random_input(toy(model).spec, np.random.default_rng(seed), count)


async def test_a_slow_chunk_of_one_sequence_does_not_hold_up_anothers_answers(serve: Serve) -> None:
    served = await serve("lstm")
    slow, quick = steps("lstm", 2000), steps("lstm", 1)
    async with stream_of(served) as stream:
        async with held(served):
            await stream.send(
                request("lstm", slow, id="slow", sequence_id=1, sequence_start=True),
                request("lstm", quick, id="behind", sequence_id=1),
                request("lstm", quick, id="quick", sequence_id=2, sequence_start=True),
                request("lstm", quick, id="stateless"),
            )
            await until_read(served, 4)
        answers = [await stream.answer() for _ in range(4)]
    assert {answer.id for answer in answers[:2]} == {"quick", "stateless"}
    assert [answer.id for answer in answers[2:]] == ["slow", "behind"]
    assert_near(tensor(answers[2])[:, 0], toy("lstm").run(slow)[0])


async def test_a_sequences_errors_keep_their_place_among_its_answers(serve: Serve) -> None:
    served, x = await serve("lstm"), steps("lstm", 100)
    async with stream_of(served) as stream:
        async with held(served):
            await stream.send(
                request("lstm", x, id="first", sequence_id=1, sequence_start=True),
                request("lstm", x[:, :2], id="wrong", sequence_id=1),
                request("lstm", x, id="third", sequence_id=1),
            )
            await until_read(served, 2)
        assert (await stream.answer()).id == "first"
        assert (await stream.error())[0] == "wrong"
        assert (await stream.answer()).id == "third"


async def test_a_setting_gives_strict_order_of_requests(folder: Path) -> None:
    slow, quick = steps("lstm", 2000), steps("lstm", 1)
    with server_process(folder, "--oip-strict-order", "true") as address:
        async with grpc.aio.insecure_channel(address) as channel:
            stream = Stream(GRPCInferenceServiceStub(channel).ModelStreamInfer())
            await stream.send(
                request("lstm", slow, id="0", sequence_id=1, sequence_start=True),
                request("lstm", quick, id="1", sequence_id=2, sequence_start=True),
                request("nothing", quick, id="2"),
                request("lstm", quick, id="3"),
            )
            told = [await stream.read() for _ in range(4)]
            stream.call.cancel()
    assert [read.infer_response.id for read in told] == ["0", "1", "2", "3"]


async def test_every_answer_says_whether_it_is_the_final_one(serve: Serve) -> None:
    served, x = await serve("gru"), steps("gru", 3)
    async with stream_of(served) as stream:
        await stream.send(request("gru", x), request("gru", x, triton_enable_empty_final_response=True))
        for _ in range(2):
            answer = await stream.answer()
            assert answer.parameters["triton_final_response"].bool_param
            assert answer.outputs


async def test_a_long_chunk_is_answered_slice_by_slice_only_where_that_was_asked_for(serve: Serve) -> None:
    served, x = await serve("gru"), steps("gru", 50)
    async with stream_of(served) as stream:
        await stream.send(request("gru", x, sequence_id=1, sequence_start=True))
        assert tensor(await stream.answer()).shape == (50, 1, 5)
        sliced = request("gru", x, outputs=("output", "h_n"), sequence_id=2, sequence_start=True, decoupled=True)
        await stream.send(sliced)
        parts = [await stream.answer() for _ in range(4)]
    assert [tensor(part).shape[0] for part in parts] == [16, 16, 16, 2]
    assert [part.parameters["triton_final_response"].bool_param for part in parts] == [False, False, False, True]
    output, h, _ = toy("gru").run(x)
    assert_near(np.concatenate([tensor(part)[:, 0] for part in parts]), output)
    assert_near(tensor(parts[-1], "h_n")[:, 0], h)
    assert [len(part.outputs) for part in parts] == [1, 1, 1, 2]


async def test_an_error_ends_the_stream_only_where_that_was_asked_for(serve: Serve) -> None:
    served, x = await serve("gru"), steps("gru", 3)
    async with stream_of(served) as stream:
        await stream.send(request("gru", x, id="bad", sequence_id=1), request("gru", x, id="good"))
        ids = {(await stream.read()).infer_response.id for _ in range(2)}
    assert ids == {"bad", "good"}
    call = GRPCInferenceServiceStub(served.channel).ModelStreamInfer(metadata=(("triton_grpc_error", "true"),))
    ending = Stream(call)
    await ending.send(request("gru", x, id="good"))
    assert (await ending.answer()).id == "good"
    await ending.send(request("gru", x, id="bad", sequence_id=1))
    with pytest.raises(grpc.aio.AioRpcError, match="START") as ended:
        await ending.read()
    assert ended.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stopping_server_answers_what_it_took_and_ends_the_stream_unavailable(serve: Serve) -> None:
    served, x = await serve("gru"), steps("gru", 3)
    call = GRPCInferenceServiceStub(served.channel).ModelStreamInfer()
    stream = Stream(call)
    async with held(served):
        await stream.send(request("gru", x, id="taken"))
        await until_read(served, 1)
        stopping = asyncio.create_task(served.server.stop())
        await until(lambda: served.server.door.draining)
        await stream.send(request("gru", x, id="late"))
        labels = {"method": "ModelStreamInfer", "code": "UNAVAILABLE"}
        value = served.server.metrics.registry.get_sample_value
        await until(lambda: value("elman_requests_total", labels))
    told = [await stream.read() for _ in range(2)]
    by_id = {read.infer_response.id: read.error_message for read in told}
    assert by_id["taken"] == ""
    assert "stopping" in by_id["late"]
    with pytest.raises(grpc.aio.AioRpcError, match="stopping") as ended:
        await stream.read()
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    await stopping
    served.server.stop = _nothing  # type: ignore[method-assign]


async def test_a_cancelled_stream_leaves_nothing_behind(serve: Serve) -> None:
    served, x = await serve("gru"), steps("gru", 3)
    stream = Stream(GRPCInferenceServiceStub(served.channel).ModelStreamInfer())
    async with held(served):
        await stream.send(
            request("gru", x, sequence_id=1, sequence_start=True),
            request("gru", x, sequence_id=1, sequence_start=True),
            request("gru", x),
        )
        await until_read(served, 3)
        stream.call.cancel()
        callers = served.server.door.callers._callers
        await until(lambda: not any(caller.streams for caller in callers.values()))
        assert [caller.rows for caller in callers.values()] == [3]  # none of them has ended
    await until(lambda: not callers)
    await served.assert_all_released()
    stream = Stream(GRPCInferenceServiceStub(served.channel).ModelStreamInfer())
    await stream.send(request("gru", x, sequence_id=1, sequence_start=True))
    assert_near(tensor(await stream.answer())[:, 0], toy("gru").run(x)[0])
    stream.call.cancel()


async def _nothing() -> None:
    pass
