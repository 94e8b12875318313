"""What is refused, with which code and in which words: what a well-made client does not send, and full queues."""

import asyncio
from typing import Any

import numpy as np
import pytest
from holding import held, until_read
from oip_requests import refused, request, stub_of, tensor
from served import Serve
from stepped_engine import FakeClock
from toys import assert_near, toy

from elman_server.door.oip.stubs import grpc_service_pb2 as pb

X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


def with_contents(**contents: Any) -> Any:
    made = request("gru", X)
    del made.raw_input_contents[:]
    made.inputs[0].contents.CopyFrom(pb.InferTensorContents(**contents))
    return made


def with_raw(*raws: bytes) -> Any:
    made = request("gru", X)
    del made.raw_input_contents[:]
    made.raw_input_contents.extend(raws)
    return made


def mixed() -> Any:
    made = request("gru", X)
    made.inputs[0].contents.fp32_contents.extend(X.ravel())
    return made


def in_shared_memory() -> Any:
    made = request("gru", X)
    made.inputs[0].parameters["shared_memory_region"].string_param = "region"
    return made


def half_typed() -> Any:
    made = with_contents(fp32_contents=X.ravel())
    made.inputs[0].datatype = "FP16"
    return made


def twice() -> Any:
    made = request("gru", X)
    made.inputs.append(made.inputs[0])
    made.raw_input_contents.append(made.raw_input_contents[0])
    return made


REFUSED: dict[str, tuple[Any, str, str]] = {
    "start without an id": (request("gru", X, sequence_start=True), "INVALID_ARGUMENT", "correlation ID"),
    "end without an id": (request("gru", X, sequence_end=True), "INVALID_ARGUMENT", "correlation ID"),
    "start with id 0": (request("gru", X, sequence_id=0, sequence_start=True), "INVALID_ARGUMENT", "correlation ID"),
    "position without an id": (request("gru", X, position=1), "INVALID_ARGUMENT", "sequence_id"),
    "start that is a number": (request("gru", X, sequence_id=1, sequence_start=1), "INVALID_ARGUMENT", "bool_param"),
    "id that is a flag": (request("gru", X, sequence_id=True), "INVALID_ARGUMENT", "int64_param or string_param"),
    "id too long": (request("gru", X, sequence_id="x" * 129), "INVALID_ARGUMENT", "1 to 128 characters"),
    "timeout that is a text": (request("gru", X, timeout="1s"), "INVALID_ARGUMENT", "int64_param"),
    "negative position": (request("gru", X, sequence_id=1, position=-1), "INVALID_ARGUMENT", "position"),
    "unknown return": (request("gru", X, return_="some"), "INVALID_ARGUMENT", "all, last, none"),
    "decoupled call": (request("gru", X, decoupled=True), "INVALID_ARGUMENT", "ModelStreamInfer"),
    "raw and typed": (
        mixed(),
        "INVALID_ARGUMENT",
        "contents field must not be specified when using raw_input_contents",
    ),
    "too many raws": (with_raw(X.tobytes(), b""), "INVALID_ARGUMENT", "expected 1 raw_input_contents"),
    "too few elements": (with_contents(fp32_contents=[0.0]), "INVALID_ARGUMENT", "unexpected number of elements 1"),
    "wrong contents": (with_contents(int64_contents=[0]), "INVALID_ARGUMENT", "unexpected number of elements 0"),
    "typed half precision": (half_typed(), "INVALID_ARGUMENT", "raw_input_contents only"),
    "an input twice": (twice(), "INVALID_ARGUMENT", "twice"),
    "an output twice": (request("gru", X, outputs=("output", "output")), "INVALID_ARGUMENT", "named once"),
    "shared memory": (in_shared_memory(), "UNIMPLEMENTED", "shared_memory_region"),
    "larger than a frame": (
        request("gru", np.zeros((2000, 3), np.float32)),
        "INVALID_ARGUMENT",
        "max_frame_bytes is 20000",
    ),
    "more rows than there can be": (
        request("gru", np.zeros((1, 65, 3), np.float32)),
        "INVALID_ARGUMENT",
        "max_infer_rows is 64",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_is_refused_with_its_code(serve: Serve, case: str) -> None:
    served = await serve("gru", max_frame_bytes=20000)
    wrong, code, phrase = REFUSED[case]
    told = await refused(stub_of(served).ModelInfer(wrong))
    assert told[0] == code
    assert phrase in told[1]
    await served.assert_all_released()


async def test_too_many_steps_on_a_bidirectional_model_are_refused(serve: Serve) -> None:
    served = await serve("bi_lstm", max_infer_steps=3)
    assert (await refused(stub_of(served).ModelInfer(request("bi_lstm", X))))[0] == "INVALID_ARGUMENT"


async def test_an_answer_that_grpc_could_not_send_is_refused_before_the_work(serve: Serve) -> None:
    served, x = await serve("tokens", max_frame_bytes=48 << 20), np.zeros((1 << 20, 5), np.int64)
    code, message = await refused(stub_of(served).ModelInfer(request("tokens", x)))
    assert code == "INVALID_ARGUMENT"
    assert f"the answer would have {5 * 16 << 20} bytes" in message


async def test_a_full_queue_is_unavailable(serve: Serve) -> None:
    served = await serve("gru", max_queue_rows=2)
    stub = stub_of(served)
    async with held(served):
        calls = [
            asyncio.ensure_future(stub.ModelInfer(request("gru", X, sequence_id=k + 1, sequence_start=True)))
            for k in range(3)
        ]
        await until_read(served, 3)
    told = await asyncio.gather(*calls, return_exceptions=True)
    failed = [error for error in told if isinstance(error, Exception)]
    assert [error.code().name for error in failed] == ["UNAVAILABLE"]
    assert "Exceeds maximum queue size" in failed[0].details()


async def test_the_calls_of_one_caller_stay_within_its_limits(serve: Serve) -> None:
    served = await serve("gru", max_caller_rows=2)
    stub, two_rows = stub_of(served), request("gru", np.zeros((1, 2, 3), np.float32))
    async with held(served):
        first = asyncio.ensure_future(stub.ModelInfer(two_rows))
        await until_read(served, 1)
        code, message = await refused(stub.ModelInfer(two_rows))
    assert code == "UNAVAILABLE"
    assert "Exceeds maximum queue size" in message
    await first
    await stub.ModelInfer(two_rows)


async def test_a_request_whose_time_was_over_is_unavailable_and_not_applied(serve: Serve) -> None:
    clock = FakeClock()
    served = await serve("gru", clock=clock)
    stub = stub_of(served)
    await stub.ModelInfer(request("gru", X, sequence_id=1, sequence_start=True))
    async with held(served):
        late = asyncio.ensure_future(refused(stub.ModelInfer(request("gru", X, sequence_id=1, timeout=1000))))
        await until_read(served, 1)
        clock.time += 0.002
    code, message = await late
    assert code == "UNAVAILABLE"
    assert "Request timeout expired" in message
    code, message = await refused(stub.ModelInfer(request("gru", X, sequence_id=1)))
    assert code == "ABORTED"
    assert "position 4" in message
    answer = await stub.ModelInfer(request("gru", X, sequence_id=1, position=4))
    assert_near(tensor(answer)[:, 0], toy("gru").run(np.concatenate([X, X]))[0][4:])


async def test_a_stopping_server_is_unavailable_and_not_ready(serve: Serve) -> None:
    served = await serve("gru")
    stub = stub_of(served)
    served.server.door.draining = True
    code, message = await refused(stub.ModelInfer(request("gru", X)))
    assert code == "UNAVAILABLE"
    assert "stopping" in message
    assert (await stub.ServerLive(pb.ServerLiveRequest())).live
    assert not (await stub.ServerReady(pb.ServerReadyRequest())).ready
    assert not (await stub.ModelReady(pb.ModelReadyRequest(name="gru"))).ready
    stream = stub.ModelStreamInfer()
    assert (await stream.code()).name == "UNAVAILABLE"


async def test_kserves_field_for_the_models_name_is_understood(serve: Serve) -> None:
    served = await serve("gru")
    stub = stub_of(served)
    answer = await stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(repository_name="gru"))
    assert (answer.model_name, answer.isLoaded) == ("gru", True)
    both = pb.RepositoryModelUnloadRequest(repository_name="here", model_name="gru")
    assert (await refused(stub.RepositoryModelUnload(both)))[0] == "UNIMPLEMENTED"
    none = pb.RepositoryModelLoadRequest()
    assert (await refused(stub.RepositoryModelLoad(none)))[0] == "INVALID_ARGUMENT"
