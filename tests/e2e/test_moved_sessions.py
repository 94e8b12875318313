"""Sessions that move to another version of their model, one by one and all as it is loaded; held against torch."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch
from engine_gate import EngineGate
from frames_on_wire import LAST
from refusals import refusal_of
from served import Served, serving
from toys import SPECS, Toy, assert_near, random_input, toy, write_toys

import elman
from elman.testing import FakeModel, FakeServer
from elman.v1 import models_pb2, sessions_pb2
from elman_models import HeadSpec, write_bundle

pytestmark = pytest.mark.asyncio(loop_scope="module")
RNG = np.random.default_rng(9)
Move = sessions_pb2.MoveSessionRequest


def retrained(version: str, name: str = "gru", **fields: Any) -> Toy:
    """A toy with other weights, and perhaps other sizes."""
    one = Toy(SPECS[name].model_copy(update={"version": version} | fields))
    for parameter in one.parameters():
        parameter *= 0.5
    return one


OLD, NEW, LARGER = toy("gru"), retrained("2"), retrained("3", hidden_size=6)
TOKENS = retrained("2", "tokens")
HEADED = retrained("0", head=HeadSpec(out_features=4))


def write(folder: Path, model: Toy) -> None:
    write_bundle(folder / f"gru-{model.spec.version}", model.spec, model.state_dict())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder = write_toys(tmp_path_factory.mktemp("moved"), ["gru", "tokens"])
    write_bundle(folder / "tokens-2", TOKENS.spec, TOKENS.state_dict())
    write(folder, NEW)
    write(folder, LARGER)
    write(folder, HEADED)
    async with serving(folder, max_slice=3, max_sessions=4) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(served: Served) -> AsyncIterator[elman.AsyncClient]:
    async with elman.AsyncClient(served.server.address) as client:
        yield client


def x(steps: int = 3) -> Any:
    return random_input(OLD.spec, RNG, steps)


def from_old(before: Any, after: Any) -> Any:
    """What the new weights give of `after`, from the state that the old ones had after `before`."""
    return NEW.run(after, torch.from_numpy(OLD.run(before)[1]))[0]


async def close(served: Served, *ids: str) -> None:
    answer = await served.sessions.CloseSessions(sessions_pb2.CloseSessionsRequest(model="gru", session_ids=ids))
    assert not answer.errors


async def test_new_weights_go_on_from_the_state_the_position_and_the_marks_of_the_old_ones(
    client: elman.AsyncClient, served: Served
) -> None:
    a, b, c = x(5), x(4), x(2)
    model = await client.model("gru", version="1")
    async with model.session() as session, model.session() as neighbour:
        await session.step(a)
        await session.mark("m")
        await session.step(b)
        await model.move(session, version="2")
        assert (session.position, session.model_info.version) == (9, "2")
        assert_near(await session.step(c), from_old(np.concatenate([a, b]), c))
        assert session.position == 11
        assert await session.marks() == {"m": 5}
        await session.rewind("m")
        assert_near(await session.step(c), from_old(a, c))
        await model.move(session, version="2")  # where it is already
        assert session.position == 7
        assert_near(await neighbour.step(a), OLD.run(a)[0])
        listed = {one.id: one.version async for one in model.list_sessions()}
        assert listed == {session.id: "2", neighbour.id: "1"}
    for number in ("1", "2"):
        runtime = served.server.catalogue.directory("gru").version(number)
        assert await served.on_engine(lambda r=runtime: (r.sessions.num_open, r.marks.num_bytes)) == (0, 0)


async def test_a_version_whose_states_disagree_and_a_full_one_are_refused_and_the_session_stays(
    client: elman.AsyncClient, served: Served
) -> None:
    a, b = x(5), x(4)
    model = await client.model("gru", version="1")
    async with model.session() as session:
        await session.step(a)
        told = r"version '3' .* keeps state 'h' float32 \[2, 1, 6\].*\[2, 1, 5\]"
        with pytest.raises(elman.UnsupportedError, match=told) as caught:
            await model.move(session, version="3")
        assert (caught.value.details.code, caught.value.details.reason) == ("FAILED_PRECONDITION", "OTHER_STATE")
        with pytest.raises(elman.UnknownModelError, match="no version '9'"):
            await model.move(session, version="9")
        async with (await client.model("gru", version="2")).sessions(4):
            answer = await served.sessions.MoveSession(Move(model="gru", session_id=session.id, version="2"))
            assert "max_sessions is 4" in answer.errors[0].status.message
        assert session.model_info.version == "1"
        assert_near(await session.step(b), OLD.run(np.concatenate([a, b]))[0][5:])
    assert (
        await refusal_of(served.sessions.MoveSession(Move(model="gru", session_id="no")))
    ).reason == "UNKNOWN_SESSION"


async def test_it_takes_its_place_and_what_came_behind_it_is_to_be_sent_again(served: Served) -> None:
    a, b = x(8), x(4)
    opened = await served.open("gru", "queued", version="1")
    stepper = await served.step()
    describe = sessions_pb2.DescribeSessionRequest(model="gru", session_id="queued", return_state=True)
    async with EngineGate(served) as gate:
        first = await stepper.send(opened.handles, [a])
        await gate.arrived(1)
        moving = asyncio.ensure_future(served.sessions.MoveSession(Move(model="gru", session_id="queued", version="2")))
        await gate.arrived(2)
        describing = asyncio.ensure_future(served.sessions.DescribeSession(describe))  # waits for the same chunk
        await gate.arrived(3)
        late = await stepper.send(opened.handles, [b])
        await gate.arrived(4)
    moved, described = await moving, await describing
    assert_near((await stepper.finish(first)).rows[0].output, OLD.run(a)[0])
    error = (await stepper.finish(late)).rows[0].error
    assert error is not None
    assert (error.reason, error.says) == ("STALE_HANDLE", {"moved_to": "2"})
    assert (list(moved.positions), list(moved.versions)) == ([8], ["2"])
    assert (described.session.version, described.session.position) == ("2", 8)
    stale = (await stepper.ask(opened.handles, [b])).rows[0].error
    assert stale is not None
    assert (stale.reason, stale.says) == ("STALE_HANDLE", {"moved_to": "2"})
    assert_near((await stepper.ask(moved.handles, [b], positions=[8])).rows[0].output, from_old(a, b))
    await close(served, "queued")
    await served.assert_all_released()


async def test_what_came_behind_a_move_to_a_full_version_runs_where_the_session_stays(served: Served) -> None:
    a, b = x(8), x(4)
    opened = await served.open("gru", "staying", version="1")
    full = [f"full-{index}" for index in range(4)]
    await served.open("gru", *full, version="2")
    stepper = await served.step()
    async with EngineGate(served) as gate:
        first = await stepper.send(opened.handles, [a])
        await gate.arrived(1)
        moving = asyncio.ensure_future(
            served.sessions.MoveSession(Move(model="gru", session_id="staying", version="2"))
        )
        await gate.arrived(2)
        late = await stepper.send(opened.handles, [b])
        await gate.arrived(3)
    assert "max_sessions is 4" in (await moving).errors[0].status.message
    await stepper.finish(first)
    row = (await stepper.finish(late)).rows[0]
    assert row.error is None
    assert_near(row.output, OLD.run(np.concatenate([a, b]))[0][8:])
    await close(served, "staying", *full)
    await served.assert_all_released()


async def test_answers_that_were_lost_before_the_move_are_told_again_after_it_and_nothing_is_applied_twice(
    served: Served,
) -> None:
    a, b, c = x(8), x(2), x(3)  # the first of several slices
    opened = await served.open("gru", "lost", version="1")
    stepper = await served.step()
    first = (await stepper.ask(opened.handles, [a], positions=[0])).rows[0].output
    last = (await stepper.ask(opened.handles, [b], positions=[8], return_output=LAST, return_state=True)).rows[0]
    async with EngineGate(served) as gate:
        third = await stepper.send(opened.handles, [c], positions=[10])  # which the move comes right behind
        await gate.arrived(1)
        moving = asyncio.ensure_future(served.sessions.MoveSession(Move(model="gru", session_id="lost", version="2")))
        await gate.arrived(2)
    moved, whole = await moving, OLD.run(np.concatenate([a, b, c]))[0]
    assert_near((await stepper.finish(third)).rows[0].output, whole[10:])
    for _ in range(2):  # and as often as it is asked for
        again = (await stepper.ask(moved.handles, [c], positions=[10])).rows[0]
        assert_near(again.output, whole[10:])
        assert again.position == 13
        assert_near((await stepper.ask(moved.handles, [a], positions=[0])).rows[0].output, first)
    told = (await stepper.ask(moved.handles, [b], positions=[8], return_output=LAST, return_state=True)).rows[0]
    assert_near(told.output, last.output)
    assert_near(told.h_n, last.h_n)
    other = (await stepper.ask(moved.handles, [b], positions=[8])).rows[0].error  # another request than was answered
    assert other is not None
    assert other.reason == "ANSWER_GONE"
    y = x(4)
    assert_near((await stepper.ask(moved.handles, [y])).rows[0].output, from_old(np.concatenate([a, b, c]), y))
    await close(served, "lost")
    await served.assert_all_released()


async def test_a_version_of_other_outputs_takes_the_session_without_its_held_answers(
    served: Served, client: elman.AsyncClient
) -> None:
    a = x(3)
    opened = await served.open("gru", "headed", version="1")
    stepper = await served.step()
    await stepper.ask(opened.handles, [a], positions=[0])
    moved = await served.sessions.MoveSession(Move(model="gru", session_id="headed", version="0"))
    error = (await stepper.ask(moved.handles, [a], positions=[0])).rows[0].error
    assert error is not None
    assert error.reason == "ANSWER_GONE"
    await close(served, "headed")


async def test_what_generates_ends_where_its_session_moves_and_the_next_goes_on_from_there_on_the_new_weights(
    served: Served, client: elman.AsyncClient
) -> None:
    model, told = await client.model("tokens", version="1"), []
    async with model.session() as session:

        async def read() -> None:
            async for token in session.generate(20_000, prompt=[1, 2], seed=3):
                told.append(token)
                if len(told) == 5:
                    await served.sessions.MoveSession(Move(model="tokens", session_id=session.id, version="2"))

        with pytest.raises(elman.StaleHandleError) as caught:
            await read()
        assert caught.value.details.metadata["moved_to"] == "2"
        assert session.position == 2 + len(told) < 20_000
        more = [token async for token in session.generate(4, temperature=0)]
        assert session.position == 6 + len(told)
    outputs, h, _ = toy("tokens").run(np.array([1, 2, *told]))
    for token in more:
        assert token == outputs[-1].argmax()
        outputs, h, _ = TOKENS.run(np.array([token]), torch.from_numpy(h))


async def test_a_session_that_is_closing_does_not_move(served: Served) -> None:
    opened = await served.open("gru", "closing", version="1")
    stepper = await served.step()
    async with EngineGate(served) as gate:
        await stepper.send(opened.handles, [x(8)])
        await gate.arrived(1)
        moving = asyncio.ensure_future(
            refusal_of(served.sessions.MoveSession(Move(model="gru", session_id="closing", version="2")))
        )
        await gate.arrived(2)
        closing = asyncio.ensure_future(close(served, "closing"))
        await gate.arrived(3)
    await closing
    assert (await moving).reason == "UNKNOWN_SESSION"
    await served.assert_all_released()


async def test_a_load_adopts_all_sessions_between_two_steps_and_none_is_lost(tmp_path: Path) -> None:
    write_toys(tmp_path, ["gru"])
    load = models_pb2.LoadModelRequest(model="gru", version="2", adopt_sessions=True)
    async with serving(tmp_path, max_slice=3) as served, elman.AsyncClient(served.server.address) as client:
        model = await client.model("gru")
        sessions = [await model.session() for _ in range(8)]
        idle = await served.open("gru", "idle")
        inputs: list[list[Any]] = [[] for _ in sessions]
        outputs: list[list[Any]] = [[] for _ in sessions]
        answered, repeated = await served.open("gru", "answered"), x(5)
        stepper = await served.step()
        before = (await stepper.ask(answered.handles, [repeated], positions=[0])).rows[0].output
        loaded = asyncio.Event()

        async def drive(number: int) -> None:
            left = 4  # steps on the new weights
            while left:
                left -= loaded.is_set()
                inputs[number].append(x(2))
                outputs[number].append(await sessions[number].step(inputs[number][-1]))

        driving = [asyncio.ensure_future(drive(number)) for number in range(len(sessions))]
        write(tmp_path, NEW)
        answer = await served.models.LoadModel(load)
        loaded.set()
        await asyncio.gather(*driving)
        assert (answer.adopted, answer.left) == (10, 0)
        attach = sessions_pb2.AttachSessionsRequest(model="gru", session_ids=["answered"])
        handles = (await served.sessions.AttachSessions(attach)).handles
        again = (await stepper.ask(handles, [repeated], positions=[0])).rows[0]
        assert_near(again.output, before)  # whose answer was lost, say
        assert again.position == 5
        views = {one.id: one async for one in model.list_sessions()}
        assert {one.version for one in views.values()} == {"2"}
        assert views["idle"].position == 0
        for session, taken, given in zip(sessions, inputs, outputs, strict=True):
            assert session.position == sum(map(len, taken)) == views[session.id].position
            assert_moved_once(taken, given)
        error = (await stepper.ask(idle.handles, [x()])).rows[0].error
        assert error is not None
        assert error.reason == "STALE_HANDLE"


def assert_moved_once(chunks: list[Any], outputs: list[Any]) -> None:
    """The old weights gave the first outputs, and from some chunk on the new ones all others, from the same state."""
    at = 0
    state: Any = torch.zeros(2, 5)
    weights = OLD
    for chunk, output in zip(chunks, outputs, strict=True):
        told, h, _ = weights.run(chunk, state)
        if weights is OLD and np.abs(told - output).max() > 1e-4:
            weights, at = NEW, at + 1
            told, h, _ = weights.run(chunk, state)
        assert_near(output, told)
        state = torch.from_numpy(h)
    assert at == 1


async def test_a_load_whose_states_disagree_adopts_none(tmp_path: Path) -> None:
    write_toys(tmp_path, ["gru"])
    load = models_pb2.LoadModelRequest(model="gru", version="3", adopt_sessions=True)
    async with serving(tmp_path, max_slice=3) as served:
        opened = await served.open("gru", "a")
        write(tmp_path, LARGER)
        refusal = await refusal_of(served.models.LoadModel(load))
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "OTHER_STATE")
        a = x()
        assert_near((await (await served.step()).ask(opened.handles, [a])).rows[0].output, OLD.run(a)[0])


async def test_threads_have_the_same_and_the_fake_server_knows_it() -> None:
    def moved() -> None:
        models = [FakeModel("sum", version=str(n), input_size=2 + n // 3) for n in (1, 2, 3)]
        with FakeServer(models) as address, elman.Client(address) as client:
            model = client.model("sum", version="1")
            with model.session() as session:
                first = session.step([[1, 2], [3, 4]])
                model.move(session, "2")
                assert (session.position, session.model_info.version) == (2, "2")
                assert (session.step([0, 0]) == first[-1] / 2).all()
                with pytest.raises(elman.UnsupportedError, match="its state cannot go on there"):
                    model.move(session)

    await asyncio.to_thread(moved)
