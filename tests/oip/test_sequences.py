"""Sequences: begun, continued, begun anew, ended and expired, over one stream and over calls."""

from typing import Any

import numpy as np
import pytest
from holding import held, until_read
from oip_requests import refused, request, stream_of, stub_of, tensor
from served import Serve
from stepped_engine import FakeClock
from toys import assert_near, random_input, toy

START = "must specify the START flag on the first request of the sequence"


def steps(model: str, count: int, seed: int = 0) -> Any:
    return random_input(toy(model).spec, np.random.default_rng(seed), count)


async def test_a_sequence_that_lives_begins_anew_after_the_steps_that_wait(serve: Serve) -> None:
    served, (x, y) = await serve("lstm"), (steps("lstm", 9), steps("lstm", 7, seed=1))
    async with stream_of(served) as stream:
        async with held(served):
            await stream.send(
                request("lstm", x[:4], id="x0", sequence_id=1, sequence_start=True),
                request("lstm", x[4:], id="x1", sequence_id=1),
                request("lstm", y[:3], id="y0", sequence_id=1, sequence_start=True),
                request("lstm", y[3:], id="y1", sequence_id=1, sequence_end=True),
            )
            await until_read(served, 4)
        answers = [await stream.answer() for _ in range(4)]
    assert [answer.id for answer in answers] == ["x0", "x1", "y0", "y1"]
    outputs = [tensor(answer)[:, 0] for answer in answers]
    assert_near(np.concatenate(outputs[:2]), toy("lstm").run(x)[0])
    assert_near(np.concatenate(outputs[2:]), toy("lstm").run(y)[0])
    assert await served.on_engine(lambda: served.runtime("lstm").sessions.num_open) == 0
    await served.assert_all_released()


async def test_an_id_may_end_and_begin_again_without_waiting_for_the_answer(serve: Serve) -> None:
    served, x = await serve("gru"), steps("gru", 40)
    async with stream_of(served) as stream:
        async with held(served):
            for _ in range(5):
                await stream.send(
                    request("gru", x[:20], sequence_id="again", sequence_start=True),
                    request("gru", x[20:], sequence_id="again", sequence_end=True),
                )
            await until_read(served, 10)
        outputs = [tensor(await stream.answer())[:, 0] for _ in range(10)]
    for k in range(5):
        assert_near(np.concatenate(outputs[2 * k : 2 * k + 2]), toy("gru").run(x)[0])


async def test_a_step_after_the_end_must_start(serve: Serve) -> None:
    served, x = await serve("gru"), steps("gru", 4)
    async with stream_of(served) as stream:
        async with held(served):
            await stream.send(
                request("gru", x, id="whole", sequence_id=1, sequence_start=True, sequence_end=True),
                request("gru", x, id="late", sequence_id=1),
            )
            await until_read(served, 2)
        assert (await stream.answer()).id == "whole"
        name, message = await stream.error()
    assert name == "late"
    assert START in message


async def test_a_start_that_was_refused_leaves_no_sequence(serve: Serve) -> None:
    served, x = await serve("gru"), steps("gru", 4)
    bad = np.full_like(x, np.inf)
    async with stream_of(served) as stream:
        await stream.send(request("gru", bad, sequence_id=1, sequence_start=True), request("gru", x, sequence_id=1))
        assert "NaN or infinite" in (await stream.error())[1]
        assert START in (await stream.error())[1]


async def test_an_initial_state_goes_with_the_start(serve: Serve) -> None:
    import torch

    served, x = await serve("gru"), steps("gru", 5)
    h = np.random.default_rng(5).standard_normal((2, 1, 5)).astype(np.float32)
    start = request("gru", x, sequence_id=1, sequence_start=True)
    start.inputs.add(name="h_0", datatype="FP32", shape=h.shape)
    start.raw_input_contents.append(h.tobytes())
    got = tensor(await stub_of(served).ModelInfer(start))[:, 0]
    assert_near(got, toy("gru").run(x, torch.from_numpy(h[:, 0]))[0])


async def test_an_expired_sequence_must_start_and_is_told_where_it_was(serve: Serve) -> None:
    clock = FakeClock()
    served, x = await serve("gru", clock=clock, idle_timeout_seconds=10), steps("gru", 4)
    stub = stub_of(served)
    await stub.ModelInfer(request("gru", x, sequence_id=1, sequence_start=True))
    clock.time += 11
    await served.expire()
    code, message = await refused(stub.ModelInfer(request("gru", x, sequence_id=1)))
    assert code == "INVALID_ARGUMENT"
    assert START in message
    assert "expired at position 4" in message
    again = await stub.ModelInfer(request("gru", x, sequence_id=1, sequence_start=True))
    assert_near(tensor(again)[:, 0], toy("gru").run(x)[0])


async def test_a_sequence_is_a_session_of_the_native_surface_too(serve: Serve) -> None:
    served, x = await serve("gru"), steps("gru", 6)
    stub = stub_of(served)
    await stub.ModelInfer(request("gru", x[:2], sequence_id=42, sequence_start=True))
    opened = await served.open("gru", "oip-int:42", mode=2)
    assert list(opened.positions) == [2]
    after = await stub.ModelInfer(request("gru", x[2:], sequence_id=42))
    assert_near(tensor(after)[:, 0], toy("gru").run(x)[0][2:])


async def test_a_repeated_position_is_answered_again_and_not_applied_again(serve: Serve) -> None:
    served, x = await serve("gru"), steps("gru", 6)
    stub = stub_of(served)
    first = request("gru", x[:3], sequence_id=1, sequence_start=True, position=0)
    assert (await stub.ModelInfer(first)).parameters["position"].int64_param == 3
    second = request("gru", x[3:], sequence_id=1, position=3)
    once, twice = await stub.ModelInfer(second), await stub.ModelInfer(second)
    assert once.raw_output_contents == twice.raw_output_contents
    assert (await refused(stub.ModelInfer(request("gru", x, sequence_id=1, position=9))))[0] == "OUT_OF_RANGE"
    assert (await refused(stub.ModelInfer(request("gru", x, sequence_id=1, position=1))))[0] == "ABORTED"


@pytest.mark.parametrize(("wanted", "shape"), [("all", (6, 1, 5)), ("last", (1, 1, 5))])
async def test_return_says_which_outputs_come_back(serve: Serve, wanted: str, shape: tuple[int, ...]) -> None:
    served, x = await serve("gru"), steps("gru", 6)
    answer = await stub_of(served).ModelInfer(request("gru", x, sequence_id=1, sequence_start=True, return_=wanted))
    assert tensor(answer).shape == shape
    assert_near(tensor(answer)[:, 0], toy("gru").run(x)[0][-shape[0] :])


async def test_nothing_wanted_is_nothing_returned(serve: Serve) -> None:
    served, x = await serve("gru"), steps("gru", 6)
    answer = await stub_of(served).ModelInfer(
        request("gru", x, outputs=("output", "h_n"), sequence_id=1, sequence_start=True, return_="none")
    )
    assert [output.name for output in answer.outputs] == ["h_n"]
    assert_near(tensor(answer, "h_n")[:, 0], toy("gru").run(x)[1])


async def test_sequences_count_in_the_same_metrics_and_limits_as_sessions(serve: Serve) -> None:
    served, x = await serve("gru", max_sessions=1), steps("gru", 2)
    stub = stub_of(served)
    await stub.ModelInfer(request("gru", x, sequence_id=1, sequence_start=True))
    code, message = await refused(stub.ModelInfer(request("gru", x, sequence_id=2, sequence_start=True)))
    assert code == "UNAVAILABLE"
    assert "max_sessions is 1" in message
    value = served.server.metrics.registry.get_sample_value
    labels = {"model": "gru", "version": "1"}
    assert value("elman_session_steps_total", labels) == 2
    assert value("elman_sessions_opened_total", labels) == 1
    assert value("elman_requests_total", {"method": "ModelInfer", "code": "OK"}) == 1
    assert value("elman_requests_total", {"method": "ModelInfer", "code": "UNAVAILABLE"}) == 1
