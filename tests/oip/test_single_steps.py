"""Single steps of sequences, which go together: each is answered as if it were alone."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from holding import held, until, until_read
from oip_requests import Stream, request, stream_of, stub_of, tensor
from served import Serve
from toys import Toy, assert_near, random_input, toy, write_toys

from elman_models.bundle import write_bundle
from elman_server.door.oip.forms import Forms
from elman_server.door.oip.single_steps import SingleStep
from elman_server.door.oip.stubs import grpc_service_pb2 as pb
from elman_server.door.oip.stubs.unread_pb2 import UnreadRequest
from elman_server.errors import ServiceError


def inputs(count: int, seed: int = 0) -> Any:
    return random_input(toy("lstm").spec, np.random.default_rng(seed), count)


async def begun(stream: Stream, x: Any, *sequences: int) -> None:
    """Has sequences begin, and one step of them read the long way."""
    for sequence in sequences:
        await stream.send(request("lstm", x[:1], sequence_id=sequence, sequence_start=True))
        await stream.answer()
    await stream.send(request("lstm", x[1:2], sequence_id=sequences[0]))
    await stream.answer()


def test_an_unread_request_has_the_fields_of_a_request() -> None:
    unread, read = (one.DESCRIPTOR.fields for one in (UnreadRequest, pb.ModelInferRequest))
    assert [(field.name, field.number) for field in unread] == [(field.name, field.number) for field in read]


async def test_steps_of_two_streams_that_come_together_are_each_answered_on_their_own(serve: Serve) -> None:
    served, x = await serve("lstm"), inputs(5)
    output = toy("lstm").run(x)[0]
    bad = np.full_like(x[:1], np.nan)
    async with stream_of(served) as mine, stream_of(served) as other:
        await begun(mine, x, 1, 2, 4)
        await begun(other, x, 3)
        async with held(served):
            await mine.send(
                request("lstm", x[2:3], id="a", sequence_id=1),
                request("lstm", x[1:2], id="beside", sequence_id=4),
                request("lstm", x[3:4], id="b", sequence_id=1),  # of the same sequence
                request("lstm", bad, id="bad", sequence_id=2),
                request("lstm", x[2:3], id="unknown", sequence_id=9),
                request("lstm", x[4:5], id="end", sequence_id=1, sequence_end=True),
            )
            await other.send(request("lstm", x[2:3], id="c", sequence_id=3, timeout=60_000_000))
            await until_read(served, 7)
            arrived = served.server._open_inference._sequences._arrived
            assert sum(isinstance(one, SingleStep) for one in arrived) == 6
        told = [await mine.read() for _ in range(6)]
        elsewhere = await other.answer()
    by_id = {one.infer_response.id: one for one in told}
    for index, name in enumerate(("a", "b", "end")):
        assert_near(tensor(by_id[name].infer_response)[0], output[2 + index : 3 + index])
    assert_near(tensor(by_id["beside"].infer_response)[0], output[1:2])
    assert "NaN" in by_id["bad"].error_message
    assert "START" in by_id["unknown"].error_message
    assert elsewhere.id == "c"
    assert_near(tensor(elsewhere)[0], output[2:3])
    value = served.server.metrics.registry.get_sample_value
    assert value("elman_requests_total", {"method": "ModelStreamInfer", "code": "OK"}) == 11
    assert value("elman_requests_total", {"method": "ModelStreamInfer", "code": "INVALID_ARGUMENT"}) == 2


async def test_a_step_that_is_known_is_answered_as_one_that_is_read(serve: Serve) -> None:
    served, x = await serve("lstm"), inputs(4)
    long = "\u00e9" * 150  # whose size takes two bytes
    async with stream_of(served) as stream:
        await stream.send(request("lstm", x[:1], id=long, sequence_id=1, sequence_start=True))
        answers = [await stream.answer()]
        for step in range(1, 4):
            await stream.send(request("lstm", x[step : step + 1], id=long, sequence_id=1))
            answers.append(await stream.answer())
    assert_near(np.concatenate([tensor(answer)[0] for answer in answers]), toy("lstm").run(x)[0])
    for answer in answers:
        del answer.raw_output_contents[:]
    assert answers[1:] == answers[:-1]


async def test_steps_of_another_form_are_read_anew(serve: Serve) -> None:
    served, x = await serve("lstm"), inputs(2)
    async with stream_of(served) as stream:
        await begun(stream, x, 1)
        await stream.send(request("lstm", x, sequence_id=1), request("lstm", x[:1], sequence_id=1, return_="none"))
        assert tensor(await stream.answer()).shape[0] == 2
        assert not (await stream.answer()).outputs
        short = request("lstm", x[:1], sequence_id=1)
        short.raw_input_contents[0] = short.raw_input_contents[0][:-1]
        await stream.send(short, request("lstm", x[:1], sequence_id=1, position=0))
        assert "unexpected total byte size" in (await stream.error())[1]
        again = await stream.answer()
    assert again.parameters["position"].int64_param == 1
    assert_near(tensor(again)[0], toy("lstm").run(x)[0][:1])


async def test_what_waited_for_the_last_answer_is_told_behind_it_where_no_more_is_asked(serve: Serve) -> None:
    served, x = await serve("lstm"), inputs(3)
    async with stream_of(served) as stream:
        await begun(stream, x, 1)
        async with held(served):
            bad = request("lstm", x[:1, :1], id="bad", sequence_id=1)
            await stream.send(request("lstm", x[2:], id="good", sequence_id=1), bad)
            await stream.call.done_writing()
            await until_read(served, 1)
        assert (await stream.answer()).id == "good"
        assert (await stream.error())[0] == "bad"


def test_empty_parameters_by_the_thousand_are_not_remembered() -> None:
    forms = Forms()
    data = b"\x22\x00" * 10_000  # entries of the map without a name or value
    with suppress(ServiceError):
        forms.parameters(UnreadRequest.FromString(data), data)
    assert not forms._parameters


async def test_a_cancelled_streams_steps_do_not_run_and_others_do(serve: Serve) -> None:
    served, x = await serve("lstm"), inputs(3)
    async with stream_of(served) as other:
        await begun(other, x, 1, 2)
        going = Stream(stub_of(served).ModelStreamInfer())
        async with held(served):
            await going.send(request("lstm", x[2:], sequence_id=1))
            await other.send(request("lstm", x[1:2], sequence_id=2))
            await until_read(served, 2)
            going.call.cancel()
            streams = served.server._open_inference._streams
            await until(lambda: len(streams) == 1)
        assert_near(tensor(await other.answer())[0], toy("lstm").run(x)[0][1:2])
        await other.send(request("lstm", x[2:], sequence_id=1))
        assert_near(tensor(await other.answer())[0], toy("lstm").run(x)[0][2:])


async def test_steps_go_on_on_the_version_that_their_sequence_began_on(serve: Serve, tmp_path: Path) -> None:
    folder = write_toys(tmp_path / "mine", ["lstm"])
    served, x = await serve(models=folder), inputs(4)
    async with stream_of(served) as stream:
        await begun(stream, x, 1)
        newer = Toy(toy("lstm").spec.model_copy(update={"version": "2"}))
        write_bundle(folder / "lstm-2", newer.spec, newer.state_dict())
        await stub_of(served).RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="lstm"))
        for step in (2, 3):  # the first is read, the other known
            await stream.send(request("lstm", x[step : step + 1], sequence_id=1))
            answer = await stream.answer()
            assert answer.model_version == "1"
            assert_near(tensor(answer)[0], toy("lstm").run(x)[0][step : step + 1])
