"""What whole sequences leave behind is kept on the server as sessions: handed to decoders, read, taken out, ended."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch
from engine_gate import EngineGate
from graph_cases import random_context, random_inputs
from graph_networks import Forecaster
from graph_server import write_networks
from lost_answers import losing_answers
from refusals import refusal_of
from served import Served, serving
from toys import Toy, assert_near, random_input, toy, write_toys

import elman
from elman import StateFrom, wire
from elman.testing import FakeModel, FakeServer
from elman.v1 import inference_pb2, sessions_pb2
from elman_models import Cell, ModelSpec, write_bundle

pytestmark = pytest.mark.asyncio(loop_scope="module")
RNG = np.random.default_rng(16)
WIDE = Toy(ModelSpec(name="wide", cell=Cell.LSTM, input_size=3, hidden_size=10, num_layers=2))
JOINED = {name: StateFrom(directions="concatenate") for name in ("h", "c")}
Infer = inference_pb2.InferRequest


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder = write_toys(tmp_path_factory.mktemp("kept"), ["gru", "bi_lstm"])
    write_bundle(folder / "wide", WIDE.spec, WIDE.state_dict())
    write_networks(folder, [Forecaster])
    async with serving(folder, max_slice=3, max_sessions=6, max_kept_states=5) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(served: Served) -> AsyncIterator[elman.AsyncClient]:
    async with elman.AsyncClient(served.server.address) as client:
        yield client


def x(steps: int) -> Any:
    return random_input(toy("gru").spec, RNG, steps)


def joined(sequence: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """h and c of the bidirectional encoder after a sequence, directions concatenated, [layers, 2 x size]."""
    _, h, c = toy("bi_lstm").run(sequence)
    assert c is not None
    first, second = (torch.from_numpy(np.concatenate([one[0::2], one[1::2]], -1)) for one in (h, c))
    return first, second


async def open_ids(served: Served, model: str) -> list[str]:
    """Of a model's sessions."""
    answer = await served.sessions.ListSessions(sessions_pb2.ListSessionsRequest(model=model))
    return sorted(one.session_id for one in answer.sessions)


async def test_a_bidirectional_encoders_state_is_handed_to_decoders_without_travelling(
    client: elman.AsyncClient, served: Served
) -> None:
    a, y = x(7), x(4)
    encoder, decoder = await client.model("bi_lstm"), await client.model("wide")
    output, kept = await encoder.infer(a, keep_state_as="encoded")
    assert_near(output, toy("bi_lstm").run(a)[0])
    assert (kept.id, kept.position, kept.resumed) == ("encoded", 7, False)
    expected = WIDE.run(y, joined(a))[0]
    async with decoder.session(from_=kept, map=JOINED) as one, decoder.sessions(3, from_=kept, map=JOINED) as pool:
        assert_near(await one.step(y), expected)
        for told in await pool.step([y] * 3):
            assert_near(told, expected)
    async with encoder.session("encoded", mode="resume") as again:  # as anybody who knows its id
        _, h, c = toy("bi_lstm").run(a)
        state = await again.state()
        assert_near(state.h_n[:, 0], h)
        assert_near(state.c_n[:, 0], c)  # type: ignore[index]
        async with decoder.session(from_=again, map=JOINED) as one:
            assert_near(await one.step(y), expected)
        async with encoder.import_session(await again.export()) as copy, decoder.session(from_=copy, map=JOINED) as one:
            assert_near(await one.step(y), expected)
            await copy.end()
    assert [one.position async for one in encoder.list_sessions()] == [7]
    await again_ended(encoder, "encoded")
    assert await open_ids(served, "bi_lstm") == []


async def again_ended(model: elman.AsyncModel, session_id: str) -> None:
    async with model.session(session_id, mode="resume") as session:
        await session.end()


async def test_the_answer_has_no_state_unless_it_is_asked_for(served: Served) -> None:
    for ask in (False, True):
        a = x(5)
        request = Infer(model="bi_lstm", lengths=[5], input=wire.to_tensor(a), keep_state_as=["a"], return_state=ask)
        response = await served.inference.Infer(request)
        assert (response.HasField("h_n"), response.HasField("c_n")) == (ask, ask)
        await served.sessions.CloseSessions(sessions_pb2.CloseSessionsRequest(model="bi_lstm", session_ids=["a"]))


async def test_a_list_of_sequences_is_kept_as_a_pool_and_each_goes_on_from_its_own_end(
    client: elman.AsyncClient, served: Served
) -> None:
    sequences, y = [x(3), x(8), x(5)], x(4)  # longer than a slice, too
    model = await client.model("gru")
    outputs, pool = await model.infer(sequences, keep_state_as=["a", "b", "c"])
    assert (pool.ids, pool.positions) == (("a", "b", "c"), (3, 8, 5))
    again = await pool.step([y] * 3)
    for one, output, told in zip(sequences, outputs, again, strict=True):
        expected = toy("gru").run(np.concatenate([one, y]))[0]
        assert_near(output, expected[: len(one)])
        assert_near(told, expected[len(one) :])
    await pool.end()
    await served.assert_all_released()


async def test_a_kept_session_has_the_context_that_its_sequence_had(client: elman.AsyncClient, served: Served) -> None:
    spec = served.runtime("Forecaster").spec
    given = {name: tensor.numpy() for name, tensor in random_inputs(spec, 6).items()}
    context = {name: tensor.numpy() for name, tensor in random_context(spec).items()}
    begun, rest = ({name: array[part] for name, array in given.items()} for part in (slice(2), slice(2, None)))
    model = await client.model("Forecaster")
    whole, _ = await model.infer(given, context={name: array[np.newaxis] for name, array in context.items()})
    _, kept = await model.infer(
        begun, context={name: array[np.newaxis] for name, array in context.items()}, keep_state_as="kept"
    )
    told = await kept.step(rest)
    for name, array in told.items():
        assert_near(array, whole[name][2:] if len(whole[name]) == 6 else whole[name])
    await kept.end()


async def test_a_request_whose_answer_is_lost_keeps_one_state_and_another_request_finds_the_name_taken(
    client: elman.AsyncClient, served: Served
) -> None:
    a, y = x(6), x(3)
    for name, go_on in (("gru", True), ("bi_lstm", False)):
        model = await client.model(name)
        with losing_answers(Infer, 2) as lost:
            output, kept = await model.infer(a, keep_state_as="once")
        assert len(lost) == 2
        assert_near(output, toy(name).run(a)[0])
        assert await open_ids(served, name) == ["once"]
        with pytest.raises(elman.SessionExistsError, match="'once' exists, at position 6"):
            await model.infer(a, keep_state_as="once")
        if go_on:
            assert_near(await kept.step(y), toy(name).run(np.concatenate([a, y]))[0][6:])
        await kept.end()
        assert await open_ids(served, name) == []


async def test_what_would_step_or_change_a_kept_state_is_refused_by_name_and_it_stays(
    client: elman.AsyncClient, served: Served
) -> None:
    a, y = x(6), x(3)
    encoder = await client.model("bi_lstm")
    _, kept = await encoder.infer(a, keep_state_as="kept")
    state = await kept.state()
    for refused in (
        lambda: kept.step(y),
        lambda: kept.set_state(state),
        lambda: kept.reset(),
        lambda: kept.mark("m"),
        lambda: kept.rewind("m"),
        lambda: kept.fork(),
        lambda: kept.score(y, np.zeros((3, 10), np.float32)),
        lambda: encoder.move(kept),
    ):
        with pytest.raises(elman.UnsupportedError, match=r"whole sequences|bidirectional"):
            await refused()  # type: ignore[no-untyped-call]
    generate = inference_pb2.GenerateRequest(model="bi_lstm", session_id="kept", max_steps=2)
    with pytest.raises(Exception, match="keeps no sessions"):
        [one async for one in served.inference.Generate(generate)]
    assert_near((await kept.state()).h_n, state.h_n)
    for mode in ("resume_or_new", "new"):
        with pytest.raises(elman.UnsupportedError, match="keeps no sessions"):
            await encoder.session("kept", mode=mode)
    with pytest.raises(elman.InvalidInputError, match=r"expected torch.float32 \[2, 10\] \(layers, then features\)"):
        await (await client.model("wide")).session(from_=kept)
    await kept.end()


def asked(*ids: str, rows: int = 1, model: str = "bi_lstm", **fields: Any) -> Any:
    packed = wire.to_tensor(np.zeros((2 * rows, 3), np.float32))
    return Infer(model=model, lengths=[2] * rows, input=packed, keep_state_as=ids, **fields)


async def test_what_cannot_be_kept_is_refused_before_it_is_run_and_nothing_of_it_is_kept(
    client: elman.AsyncClient, served: Served
) -> None:
    encoder = await client.model("bi_lstm")
    _, kept = await encoder.infer(x(2), keep_state_as="taken")
    launches = await served.on_engine(lambda: served.runtime("bi_lstm").metrics.launches._value.get())
    told = {}
    for name, request in {
        "too few": asked("a", rows=2),
        "too many": asked("a", "b"),
        "twice": asked("a", "a", rows=2),
        "a bad id": asked("\n"),
        "a name alone": asked(request_id="r"),
        "a long name": asked("a", request_id="r" * 129),
        "taken": asked("a", "taken", rows=2),
        "no room": asked(*"abcde", rows=5),
    }.items():
        refusal = await refusal_of(served.inference.Infer(request))
        told[name] = (refusal.code, refusal.reason, refusal.message)
    assert {name: reason for name, (_, reason, _) in told.items()} == {
        name: {"taken": "SESSION_EXISTS", "no room": "LIMIT_REACHED"}.get(name, "INVALID_INPUT") for name in told
    }
    assert "expected 2 ids, one for each row, got 1" in told["too few"][2]
    assert "max_kept_states is 5" in told["no room"][2]
    assert await served.on_engine(lambda: served.runtime("bi_lstm").metrics.launches._value.get()) == launches
    with pytest.raises(elman.InvalidInputError, match="expected 2 ids, one for each sequence, got 1"):
        await encoder.infer([x(2), x(2)], keep_state_as=["a"])
    with pytest.raises(TypeError, match="keep_state_as: expected"):
        await encoder.infer([x(2), x(2)], keep_state_as="a")
    assert await open_ids(served, "bi_lstm") == ["taken"]
    await kept.end()
    await served.assert_all_released()


async def test_a_name_that_is_taken_while_it_runs_fails_the_call_and_none_is_kept(
    client: elman.AsyncClient, served: Served
) -> None:
    async with EngineGate(served) as gate:
        asking = asyncio.ensure_future(served.inference.Infer(asked("a", "b", rows=2, model="gru")))
        await gate.arrived(1)
        opening = asyncio.ensure_future(served.open("gru", "b"))
        await gate.arrived(2)
    await opening
    refusal = await refusal_of(asking)
    assert (refusal.code, refusal.reason) == ("ALREADY_EXISTS", "SESSION_EXISTS")
    assert await open_ids(served, "gru") == ["b"]
    await served.sessions.CloseSessions(sessions_pb2.CloseSessionsRequest(model="gru", session_ids=["b"]))


async def test_a_caller_that_goes_away_keeps_nothing(served: Served) -> None:
    async with EngineGate(served) as gate:
        asking = served.inference.Infer(asked("gone"))
        await gate.arrived(1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await gate.arrived(2)
    await served.assert_all_released()
    assert await open_ids(served, "bi_lstm") == []


async def test_threads_have_the_same_and_the_fake_server_knows_it() -> None:
    def kept() -> None:
        models = [FakeModel("sum", input_size=2), FakeModel("bi", input_size=2, is_bidirectional=True)]
        with FakeServer(models) as address, elman.Client(address) as client:
            model, encoder = client.model("sum"), client.model("bi")
            with losing_answers(Infer):
                _, session = encoder.infer([[1, 2], [3, 4]], keep_state_as="a")
            with model.session() as twin:
                twin.step([[1, 2], [3, 4]])
                with model.session(from_=session) as handed:
                    assert (handed.step([1, 1]) == twin.step([1, 1])).all()
            for refused in (lambda: session.step([1, 1]), lambda: session.mark("m"), lambda: session.fork()):
                with pytest.raises(elman.UnsupportedError, match="bidirectional"):
                    refused()  # type: ignore[no-untyped-call]
            with pytest.raises(elman.SessionExistsError):
                encoder.infer([[1, 2]], keep_state_as="a")
            session.end()
            _, pool = model.infer([[[1, 2]], [[1, 2], [3, 4]]], keep_state_as=["a", "b"])
            assert (pool.ids, pool.positions) == (("a", "b"), (1, 2))
            pool.end()

    await asyncio.to_thread(kept)
