"""Marks: copies of a session's state and position to return to; held against torch going on from them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from engine_gate import EngineGate
from graph_cases import random_context, random_inputs
from graph_networks import Forecaster
from graph_server import write_networks
from refusals import refusal_of
from served import Served, serving
from toys import assert_near, random_input, toy, write_toys

import elman
from elman.testing import FakeModel, FakeServer
from elman.v1 import sessions_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")
RNG = np.random.default_rng(5)
NAMES = ("lstm", "gru", "tokens")
Mark, Rewind, Drop = (
    sessions_pb2.MarkSessionRequest,
    sessions_pb2.RewindSessionRequest,
    sessions_pb2.DropMarksRequest,
)
MAX_MARKS, MAX_MARK_BYTES = 3, 200
"""Of a session; of all: five of the GRU's, of 40 bytes."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder = write_toys(tmp_path_factory.mktemp("marks"), NAMES)
    write_networks(folder, [Forecaster])
    async with serving(folder, max_slice=3, max_marks=MAX_MARKS, max_mark_bytes=MAX_MARK_BYTES) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(served: Served) -> AsyncIterator[elman.AsyncClient]:
    async with elman.AsyncClient(served.server.address) as client:
        yield client


def ask(served: Served, request: Any) -> Any:
    """A call on sessions."""
    return getattr(served.sessions, type(request).__name__.removesuffix("Request"))(request)


def tail(name: str, *parts: Any) -> Any:
    """What torch gives of the last part of a sequence."""
    return toy(name).run(np.concatenate(parts))[0][-len(parts[-1]) :]


@pytest.mark.parametrize("name", NAMES)
async def test_a_session_returns_to_its_marks_as_often_as_wanted_and_goes_on_from_there(
    client: elman.AsyncClient, name: str
) -> None:
    a, b, c, d = (random_input(toy(name).spec, RNG, steps) for steps in (4, 5, 5, 2))
    async with (await client.model(name)).session() as session, await session.fork() as neighbour:
        await session.step(a)
        await session.mark("before")
        await session.step(b)
        await session.mark("after")
        assert await session.marks() == {"before": 4, "after": 9}
        await session.rewind("before")
        assert session.position == 4
        assert_near(await session.step(c), tail(name, a, c))
        await session.rewind("after")
        assert session.position == 9
        assert_near(await session.step(d), tail(name, a, b, d))
        await session.rewind("before")
        assert_near(await session.step(b), tail(name, a, b))
        assert await session.marks() == {"before": 4, "after": 9}
        assert_near(await neighbour.step(c), tail(name, c))


async def test_a_graphs_states_and_context_are_those_of_the_mark(client: elman.AsyncClient, served: Served) -> None:
    spec = served.runtime("Forecaster").spec
    given = {name: tensor.numpy() for name, tensor in random_inputs(spec, 6).items()}
    context = {name: tensor.numpy() for name, tensor in random_context(spec).items()}
    begun, rest = ({name: array[part] for name, array in given.items()} for part in (slice(2), slice(2, None)))
    async with (await client.model("Forecaster")).session(context=context) as session:
        await session.step(begun)
        await session.mark("two")
        first = await session.step(rest)
        await session.rewind("two")
        again = await session.step(rest)
    assert first.keys() == again.keys()
    for name, array in first.items():
        assert_near(again[name], array)


async def test_positions_behind_a_mark_are_used_again_and_no_held_answer_is_told_for_them(served: Served) -> None:
    a, b, c = (random_input(toy("gru").spec, RNG, 3) for _ in range(3))
    opened = await served.open("gru", "used again")
    stepper = await served.step()
    await stepper.ask(opened.handles, [a], positions=[0])
    await ask(served, Mark(model="gru", session_id="used again", mark="m"))
    await stepper.ask(opened.handles, [b], positions=[3])
    assert (await ask(served, Rewind(model="gru", session_id="used again", mark="m"))).position == 3
    assert_near((await stepper.ask(opened.handles, [c], positions=[3])).rows[0].output, tail("gru", a, c))
    again = (await stepper.ask(opened.handles, [c], positions=[3])).rows[0]  # a repeat, of what came since
    assert_near(again.output, tail("gru", a, c))
    gone = (await stepper.ask(opened.handles, [a], positions=[0])).rows[0]
    assert gone.error is not None
    assert gone.error.reason == "ANSWER_GONE"
    await ask(served, sessions_pb2.CloseSessionsRequest(model="gru", session_ids=["used again"]))


async def test_each_takes_its_place_and_what_came_behind_a_rewind_is_told_where_to_go_on(served: Served) -> None:
    a, b, c, d = (random_input(toy("gru").spec, RNG, steps) for steps in (8, 4, 7, 2))
    opened = await served.open("gru", "queued")
    stepper = await served.step()
    async with EngineGate(served) as gate:
        first = await stepper.send(opened.handles, [a])
        await gate.arrived(1)
        mark = asyncio.ensure_future(ask(served, Mark(model="gru", session_id="queued", mark="m")))
        await gate.arrived(2)
        second = await stepper.send(opened.handles, [b])
        await gate.arrived(3)
        rewind = asyncio.ensure_future(ask(served, Rewind(model="gru", session_id="queued", mark="m")))
        await gate.arrived(4)
        late = [await stepper.send(opened.handles, [c]) for _ in range(2)]
        await gate.arrived(6)
    assert ((await mark).position, (await rewind).position) == (8, 8)
    assert_near((await stepper.finish(first)).rows[0].output, tail("gru", a))
    assert_near((await stepper.finish(second)).rows[0].output, tail("gru", a, b))
    for one in late:
        error = (await stepper.finish(one)).rows[0].error
        assert error is not None
        assert (error.reason, error.says) == ("PREDECESSOR_FAILED", {"position": "8"})
        assert "rewound to position 8" in error.message
    assert_near((await stepper.ask(opened.handles, [d], positions=[8])).rows[0].output, tail("gru", a, d))
    await ask(served, sessions_pb2.CloseSessionsRequest(model="gru", session_ids=["queued"]))
    await served.assert_all_released()


async def test_a_close_behind_what_a_rewind_undid_ends_the_session(served: Served) -> None:
    a, b = (random_input(toy("gru").spec, RNG, steps) for steps in (5, 4))
    opened = await served.open("gru", "closing")
    await ask(served, Mark(model="gru", session_id="closing", mark="m"))
    stepper = await served.step()
    async with EngineGate(served) as gate:
        await stepper.send(opened.handles, [a])
        await gate.arrived(1)
        rewind = asyncio.ensure_future(ask(served, Rewind(model="gru", session_id="closing", mark="m")))
        await gate.arrived(2)
        late = await stepper.send(opened.handles, [b])
        await gate.arrived(3)
        closed = asyncio.ensure_future(
            ask(served, sessions_pb2.CloseSessionsRequest(model="gru", session_ids=["closing"]))
        )
        await gate.arrived(4)
    assert (await rewind).position == 0
    assert list((await closed).positions) == [0]
    assert (await stepper.finish(late)).rows[0].error
    await served.assert_all_released()


async def test_marks_are_bounded_in_number_and_bytes_and_end_with_their_session(
    client: elman.AsyncClient, served: Served
) -> None:
    model, marks = await client.model("gru"), served.runtime("gru").marks
    async with model.session() as session, model.session() as other:
        for name in ("a", "b", "c", "a"):
            await session.mark(name)
        with pytest.raises(elman.LimitReachedError, match="max_marks is 3, and the session has 3") as caught:
            await session.mark("d")
        assert (caught.value.limit, caught.value.retry_after_seconds) == ("max_marks", None)
        await other.mark("a")
        await other.mark("b")
        with pytest.raises(elman.LimitReachedError, match="max_mark_bytes is 200, and all take 200"):
            await other.mark("c")
        await session.drop_mark("b")
        await other.mark("c")
        assert await served.on_engine(lambda: marks.num_bytes) == MAX_MARK_BYTES
        assert await session.marks() == {"a": 0, "c": 0}
    assert await served.on_engine(lambda: marks.num_bytes) == 0


async def test_a_mark_that_is_gone_is_refused_by_name_and_the_session_stays_where_it_is(
    client: elman.AsyncClient,
) -> None:
    x, y = random_input(toy("gru").spec, RNG, 3), random_input(toy("gru").spec, RNG, 2)
    async with (await client.model("gru")).session() as session:
        await session.step(x)
        await session.mark("here")
        await session.mark("there")
        await session.drop_mark("here")
        for call in (session.rewind, session.drop_mark):
            with pytest.raises(elman.UnknownMarkError, match="has no mark 'here'; there are: 'there'") as caught:
                await call("here")
            assert caught.value.details.code == "NOT_FOUND"
        async with await session.fork() as twin:
            with pytest.raises(elman.UnknownMarkError, match="there are: none"):
                await twin.rewind("there")
        assert_near(await session.step(y), tail("gru", x, y))


@pytest.mark.parametrize("kind", [Mark, Rewind, Drop])
async def test_of_a_session_that_is_not_there_nothing_is_marked(served: Served, kind: Any) -> None:
    fields = {"marks": ["m"]} if kind is Drop else {"mark": "m"}
    assert (await refusal_of(ask(served, kind(model="gru", session_id="no", **fields)))).reason == "UNKNOWN_SESSION"
    assert (await refusal_of(ask(served, kind(model="no", session_id="a", **fields)))).reason == "UNKNOWN_MODEL"
    for name in ("", "a\n", "x" * 129):
        if kind is not Drop:
            refusal = await refusal_of(ask(served, kind(model="gru", session_id="a", mark=name)))
            assert (refusal.code, refusal.message[:5]) == ("INVALID_ARGUMENT", "mark:")


async def test_threads_have_the_same_and_the_fake_server_knows_it() -> None:
    def marked() -> None:
        with (
            FakeServer([FakeModel("sum", input_size=2)]) as address,
            elman.Client(address) as client,
            client.model("sum").session() as session,
        ):
            session.step([[1, 2], [3, 4]])
            session.mark("m")
            first = session.step([1, 1])
            session.rewind("m")
            assert session.position == 2
            assert (session.step([1, 1]) == first).all()
            assert session.marks() == {"m": 2}
            session.drop_mark("m")
            with pytest.raises(elman.UnknownMarkError, match="has no mark 'm'; there are: none"):
                session.rewind("m")
            for number in range(16):
                session.mark(str(number))
            with pytest.raises(elman.LimitReachedError, match="max_marks is 16"):
                session.mark("one more")

    await asyncio.to_thread(marked)
