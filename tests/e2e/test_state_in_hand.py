"""A session's state in the caller's hand: put in, put back, begun with, forked; held against torch going on from it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from engine_gate import EngineGate
from graph_cases import random_context, random_inputs
from graph_networks import Forecaster, VoiceActivity
from graph_server import named, write_networks
from lost_answers import losing_answers
from served import Serve, Served
from toys import assert_near, random_input, toy, write_toys

import elman
from elman.testing import FakeModel, FakeServer
from elman.v1 import sessions_pb2

RNG = np.random.default_rng(4)
NAMES = ("lstm", "gru", "lstm_proj", "tokens")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("states")
    return write_toys(folder, [*NAMES, "bi_lstm"]), write_networks(folder, [VoiceActivity, Forecaster])


@pytest.fixture
async def served(serve: Serve, models: tuple[Path, Any]) -> Served:
    return await serve(models=models[0], max_slice=3, max_sessions=16)


@pytest.fixture
async def client(served: Served) -> AsyncIterator[elman.AsyncClient]:
    async with elman.AsyncClient(served.server.address) as client:
        yield client


def after(name: str, x: Any) -> dict[str, np.ndarray]:
    """A toy's state after a sequence, as a caller may give it."""
    _, h, c = toy(name).run(x)
    return {"h": h[:, None]} | ({} if c is None else {"c": c[:, None]})


@pytest.mark.parametrize("name", NAMES)
async def test_steps_go_on_from_a_state_that_was_put_in_and_the_position_goes_on_counting(
    client: elman.AsyncClient, name: str
) -> None:
    spec = toy(name).spec
    other, x = random_input(spec, RNG, 4), random_input(spec, RNG, 5)
    async with (await client.model(name)).session() as session:
        await session.step(random_input(spec, RNG, 7))
        await session.set_state(after(name, other))
        assert session.position == 7
        output = await session.step(x)
        assert session.position == 12
    assert_near(output, toy(name).run(np.concatenate([other, x]))[0][4:])


@pytest.mark.parametrize("name", NAMES)
async def test_a_session_that_is_reset_begins_as_a_new_one_does(client: elman.AsyncClient, name: str) -> None:
    x = random_input(toy(name).spec, RNG, 5)
    async with (await client.model(name)).session() as session:
        await session.step(random_input(toy(name).spec, RNG, 7))
        await session.reset()
        assert_near(await session.step(x), toy(name).run(x)[0])


@pytest.mark.parametrize("name", NAMES)
async def test_new_sessions_begin_with_the_states_that_are_given(client: elman.AsyncClient, name: str) -> None:
    spec = toy(name).spec
    others, xs = [random_input(spec, RNG, n) for n in (2, 5, 3)], [random_input(spec, RNG, 4) for _ in range(3)]
    given = [after(name, other) for other in others]
    state = {part: np.concatenate([one[part] for one in given], axis=1) for part in given[0]}
    model = await client.model(name)
    async with model.sessions(3, initial_state=state) as pool:
        outputs = await pool.step(xs)
    for other, x, output in zip(others, xs, outputs, strict=True):
        assert_near(output, toy(name).run(np.concatenate([other, x]))[0][len(other) :])
    async with model.session("named", mode="new", initial_state=given[1]) as session:
        assert session.position == 0
        assert_near(await session.step(xs[0]), toy(name).run(np.concatenate([others[1], xs[0]]))[0][5:])
    with pytest.raises(elman.InvalidInputError, match="a session that exists has its own"):
        await model.session("named", initial_state=given[0])


@pytest.mark.parametrize("name", NAMES)
async def test_forks_begin_where_their_session_is_and_each_goes_its_own_way(
    client: elman.AsyncClient, name: str
) -> None:
    spec = toy(name).spec
    begun = random_input(spec, RNG, 6)
    async with (await client.model(name)).session() as session:
        await session.step(begun)
        async with await session.fork() as twin, await session.fork(4) as pool:
            assert twin.position == 6
            assert pool.positions == (6,) * 4
            assert len({session.id, twin.id, *pool.ids}) == 6
            ways = [random_input(spec, RNG, 3) for _ in range(6)]
            outputs = [await session.step(ways[0]), await twin.step(ways[1]), *(await pool.step(ways[2:]))]
    for way, output in zip(ways, outputs, strict=True):
        assert_near(output, toy(name).run(np.concatenate([begun, way]))[0][6:])


async def test_a_graphs_states_and_context_are_forked_set_and_reset_by_name(
    client: elman.AsyncClient, models: tuple[Path, Any]
) -> None:
    voice, forecaster = models[1]["VoiceActivity"], models[1]["Forecaster"]
    x = random_inputs(voice.spec, 9)["x"]
    expected = voice({"x": x}, {})["speech"].numpy()
    async with (await client.model("VoiceActivity")).session() as session:
        await session.step(x[:4])
        state = await session.state()
        twin = await session.fork()
        await session.reset()
        assert_near(await session.step(x), expected)
        await session.set_state(state)
        assert_near(await session.step(x[4:]), expected[4:])
        assert_near(await twin.step(x[4:]), expected[4:])
    row, context = random_inputs(forecaster.spec, 6), random_context(forecaster.spec)
    wanted = forecaster(row, context)
    model = await client.model("Forecaster")
    given = {name: tensor.numpy() for name, tensor in row.items()}
    async with model.session(context={name: tensor.numpy() for name, tensor in context.items()}) as session:
        await session.step({name: array[:2] for name, array in given.items()})
        async with await session.fork(2) as pool:
            outputs = await pool.step([{name: array[2:] for name, array in given.items()}] * 2, outputs=list(wanted))
        await session.reset()  # its context stays
        again = await session.step(given, outputs=list(wanted))
    for name, tensor in wanted.items():
        assert_near(outputs[1][name], tensor.numpy()[2:])
        assert_near(again[name], tensor.numpy())


async def test_both_take_their_place_behind_the_steps_that_are_queued(served: Served) -> None:
    spec = toy("gru").spec
    x, y = random_input(spec, RNG, 8), random_input(spec, RNG, 2)
    opened = await served.open("gru", "a")
    async with EngineGate(served) as gate:
        stepper = await served.step()
        await stepper.send(opened.handles, [x])
        await gate.arrived(1)
        fork = served.sessions.ForkSession(
            sessions_pb2.ForkSessionRequest(model="gru", session_id="a", session_ids=["b"])
        )
        await gate.arrived(2)  # else the other may overtake it
        reset = served.sessions.SetSessionState(
            sessions_pb2.SetSessionStateRequest(model="gru", session_id="a", reset=True)
        )
        await gate.arrived(3)
    forked, answered = await fork, await reset
    assert list(forked.positions) == [8]
    assert answered.position == 8
    twin = await served.step()
    assert_near((await twin.ask(forked.handles, [y])).rows[0].output, toy("gru").run(np.concatenate([x, y]))[0][8:])
    assert_near((await twin.ask(opened.handles, [y])).rows[0].output, toy("gru").run(y)[0])


async def test_a_fork_past_the_session_limit_opens_none_and_harms_nobody(client: elman.AsyncClient) -> None:
    model = await client.model("gru")
    x = random_input(toy("gru").spec, RNG, 3)
    async with model.session() as session, model.sessions(10):
        await session.step(x)
        with pytest.raises(elman.RowErrors) as caught:
            await session.fork(8)
        assert all(isinstance(error, elman.LimitReachedError) for error in caught.value.errors.values())
        async with await session.fork(5) as pool:
            assert pool.positions == (3,) * 5


async def test_a_fork_whose_answer_is_lost_makes_its_sessions_once(client: elman.AsyncClient, served: Served) -> None:
    x, y = random_input(toy("gru").spec, RNG, 3), random_input(toy("gru").spec, RNG, 2)
    async with (await client.model("gru")).session() as session:
        await session.step(x)
        with losing_answers(sessions_pb2.ForkSessionRequest, 2) as lost:
            pool = await session.fork(4)
        assert [list(answer.session_ids) for answer in lost] == [list(pool.ids)] * 2
        assert await served.on_engine(lambda: served.runtime("gru").sessions.num_open) == 5
        for told in await pool.step([y] * 4):
            assert_near(told, toy("gru").run(np.concatenate([x, y]))[0][3:])
        await pool.close()
        assert await served.on_engine(lambda: served.runtime("gru").sessions.num_open) == 1


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "expected a state or reset, one of the two, got neither"),
    "both": ({"h_n": (2, 1, 5), "c_n": (2, 1, 5), "reset": True}, "one of the two, got both"),
    "no c_n": ({"h_n": (2, 1, 5)}, "expected h_n and c_n together or none, got h_n"),
    "another shape": ({"h_n": (2, 2, 5), "c_n": (2, 1, 5)}, "h_n: expected shape [2, 1, 5], got [2, 2, 5]"),
    "by name": ({"states": {"h": (2, 1, 5)}}, "the state of this model is given as h_n and c_n"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_is_no_state_of_the_model_is_refused_in_words(served: Served, case: str) -> None:
    fields, message = WRONG[case]
    await served.open("lstm", "a")
    arrays = {name: np.zeros(shape, np.float32) for name, shape in fields.items() if name in ("h_n", "c_n")}
    tensors = {one.name: one.tensor for one in named(arrays)}
    states = named({name: np.zeros(shape, np.float32) for name, shape in fields.get("states", {}).items()})
    request = sessions_pb2.SetSessionStateRequest(
        model="lstm", session_id="a", reset=fields.get("reset", False), states=states, **tensors
    )
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.sessions.SetSessionState(request)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in str(raised.value.details())


async def test_a_session_that_is_not_there_is_neither_set_nor_forked(served: Served) -> None:
    for call, request in (
        ("SetSessionState", sessions_pb2.SetSessionStateRequest(model="lstm", session_id="no", reset=True)),
        ("ForkSession", sessions_pb2.ForkSessionRequest(model="lstm", session_id="no", count=1)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await getattr(served.sessions, call)(request)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(("ids", "count"), [([], 0), (["b"], 1), (["b", "b"], 0), ([], 1025), (["\n"], 0)])
async def test_forks_of_no_ids_of_bad_ones_and_too_many_are_refused(served: Served, ids: list[str], count: int) -> None:
    await served.open("lstm", "a")
    request = sessions_pb2.ForkSessionRequest(model="lstm", session_id="a", session_ids=ids, count=count)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.sessions.ForkSession(request)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_id_that_exists_is_told_and_the_others_are_forked(served: Served) -> None:
    await served.open("gru", "a", "b")
    request = sessions_pb2.ForkSessionRequest(model="gru", session_id="a", session_ids=["b", "c"])
    forked = await served.sessions.ForkSession(request)
    assert [error.index for error in forked.errors] == [0]
    assert forked.handles[1]


def test_threads_have_the_same_and_the_fake_server_knows_it() -> None:
    with (
        FakeServer([FakeModel("sum", input_size=2)]) as address,
        elman.Client(address) as client,
        client.model("sum").session() as session,
    ):
        session.step([[1, 2], [3, 4]])
        state = session.state()
        with losing_answers(sessions_pb2.ForkSessionRequest), session.fork(2) as pool:
            assert len(pool.ids) == 2
        with session.fork() as twin, session.fork(2) as pool:
            assert twin.position == 2
            assert pool.positions == (2, 2)
            assert (twin.step([1, 1]) == session.step([1, 1])).all()
        session.set_state(state)
        session.reset()
        assert not session.state().h_n.any()
        with pytest.raises(TypeError, match="state: expected a State or a dict"):
            session.set_state(None)  # type: ignore[arg-type]
        with pytest.raises(elman.InvalidInputError, match="n: expected"):
            session.fork(0)
