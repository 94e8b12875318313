"""Decoders' sessions opened from encoders' states; held against torch going on from the state as it was mapped."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch
from engine_gate import EngineGate
from graph_cases import random_inputs
from graph_networks import VoiceActivity
from graph_server import write_networks
from refusals import refusal_of
from served import Served, serving
from toys import Toy, assert_near, random_input, toy, write_toys

import elman
from elman import StateFrom, wire
from elman.testing import FakeModel, FakeServer
from elman.v1 import sessions_pb2, tensor_pb2
from elman_models import Cell, ModelSpec, write_bundle

pytestmark = pytest.mark.asyncio(loop_scope="module")
RNG = np.random.default_rng(8)
WIDE = Toy(ModelSpec(name="wide", cell=Cell.LSTM, input_size=3, hidden_size=10, num_layers=2))
DEEP = Toy(ModelSpec(name="deep", cell=Cell.GRU, input_size=3, hidden_size=5, num_layers=3))
SHALLOW = Toy(ModelSpec(name="shallow", cell=Cell.LSTM, input_size=3, hidden_size=5, num_layers=1))
Open, HandOff, Map = sessions_pb2.OpenSessionsRequest, sessions_pb2.HandOff, sessions_pb2.StateMap


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder = write_toys(tmp_path_factory.mktemp("handed"), ["lstm", "gru", "bi_lstm", "lstm_proj"])
    for one in (WIDE, DEEP, SHALLOW):
        write_bundle(folder / one.spec.name, one.spec, one.state_dict())
    write_networks(folder, [VoiceActivity])
    async with serving(folder, max_slice=3, max_sessions=8) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(served: Served) -> AsyncIterator[elman.AsyncClient]:
    async with elman.AsyncClient(served.server.address) as client:
        yield client


def x(steps: int) -> Any:
    return random_input(toy("gru").spec, RNG, steps)


def after(model: Toy, sequence: Any) -> list[torch.Tensor]:
    """h and, of an LSTM, c after a sequence, [layers, size] each."""
    _, h, c = model.run(sequence)
    return [torch.from_numpy(one) for one in (h, c) if one is not None]


async def test_a_decoder_begins_where_its_encoder_is_and_the_encoder_goes_on(client: elman.AsyncClient) -> None:
    a, b, y = x(6), x(3), x(4)
    encoder, decoder = await client.model("gru"), await client.model("gru")
    async with encoder.session() as session:
        await session.step(a, returning="none")
        async with decoder.session(from_=session) as decoding, decoder.sessions(3, from_=session) as pool:
            assert (decoding.position, pool.positions) == (0, (0, 0, 0))
            expected = toy("gru").run(y, *after(toy("gru"), a))[0]
            assert_near(await decoding.step(y), expected)
            for output in await pool.step([y] * 3):
                assert_near(output, expected)
        assert_near(await session.step(b), toy("gru").run(np.concatenate([a, b]))[0][6:])


async def test_names_are_mapped_and_layers_picked_and_what_is_not_named_begins_as_ever(
    client: elman.AsyncClient,
) -> None:
    a, y = x(6), x(4)
    (h,) = after(toy("gru"), a)
    async with (await client.model("gru")).session() as session:
        await session.step(a)
        deep = await client.model("deep")
        async with deep.session(from_=session, map={"h": StateFrom(layers=[1, 0, 1])}) as decoding:
            assert_near(await decoding.step(y), DEEP.run(y, h[[1, 0, 1]])[0])
        lstm = await client.model("lstm")
        async with lstm.session(from_=session, map={"c": "h"}) as decoding:
            assert_near(await decoding.step(y), toy("lstm").run(y, (torch.zeros_like(h), h))[0])
        shallow = await client.model("shallow")
        picks = {"h": StateFrom("h", layers=[0]), "c": StateFrom("h", layers=[1])}
        async with shallow.session("named", mode="new", from_=session, map=picks) as decoding:
            assert_near(await decoding.step(y), SHALLOW.run(y, (h[:1], h[1:]))[0])
            await decoding.end()


@pytest.mark.parametrize("how", ["concatenate", "sum"])
async def test_what_a_bidirectional_encoder_inferred_is_joined_as_the_call_says(
    client: elman.AsyncClient, how: Any
) -> None:
    a, y = [x(6), x(4)], x(4)
    _, state = await (await client.model("bi_lstm")).infer(a)
    decoder, model = (
        await client.model("wide" if how == "concatenate" else "lstm"),
        WIDE if how == "concatenate" else toy("lstm"),
    )
    joined = {name: StateFrom(directions=how) for name in ("h", "c")}
    expected = []
    for sequence in a:
        both = after(toy("bi_lstm"), sequence)  # [layers x directions, size]
        one = [torch.cat([s[0::2], s[1::2]], -1) if how == "concatenate" else s[0::2] + s[1::2] for s in both]
        expected.append(model.run(y, tuple(one))[0])
    async with decoder.sessions(2, from_=state, map=joined) as pool:
        for output, wanted in zip(await pool.step([y, y]), expected, strict=True):
            assert_near(output, wanted)


async def test_a_graphs_states_are_handed_by_name(client: elman.AsyncClient, served: Served) -> None:
    given = random_inputs(served.runtime("VoiceActivity").spec, 9)["x"].numpy()
    model = await client.model("VoiceActivity")
    async with model.session() as session:
        await session.step(given[:4])
        state = await session.state()
        async with model.session(from_=session) as one, model.session(from_=state) as other:
            expected = await session.step(given[4:])
            assert_near(await one.step(given[4:]), expected)
            assert_near(await other.step(given[4:]), expected)


async def test_it_takes_its_place_behind_the_encoders_queued_steps(served: Served) -> None:
    a, y = x(8), x(2)
    opened = await served.open("gru", "encoder")
    async with EngineGate(served) as gate:
        stepper = await served.step()
        await stepper.send(opened.handles, [a])
        await gate.arrived(1)
        opening = asyncio.ensure_future(
            served.open(
                "deep",
                "decoder",
                hand_off=HandOff(model="gru", session_id="encoder", maps=[Map(target="h", layers=[0, 0, 1])]),
            )
        )
        await gate.arrived(2)
    decoding = await opening
    (h,) = after(toy("gru"), a)
    assert_near((await (await served.step()).ask(decoding.handles, [y])).rows[0].output, DEEP.run(y, h[[0, 0, 1]])[0])
    for model, session_id in (("gru", "encoder"), ("deep", "decoder")):
        await served.sessions.CloseSessions(sessions_pb2.CloseSessionsRequest(model=model, session_ids=[session_id]))


def h_of(shape: tuple[int, ...], value: float = 0.0, name: str = "h") -> list[tensor_pb2.NamedTensor]:
    return [tensor_pb2.NamedTensor(name=name, tensor=wire.to_tensor(np.full(shape, value, np.float32)))]


WRONG: dict[str, tuple[Any, str, str]] = {
    "sizes": (HandOff(model="lstm_proj", session_id="proj", maps=[Map(target="h")]), "INVALID_INPUT",
        "expected torch.float32 [3, 5] (layers, then features), and 'h' of model 'lstm_proj' gives torch.float32 [2"),
    "layers": (HandOff(session_id="deep", maps=[Map(target="h", layers=[0, 1, 3])]), "INVALID_INPUT",
        "layers [0, 1, 3] of state 'h', which has layers 0 to 2"),
    "no target": (HandOff(session_id="deep", maps=[Map(target="x")]), "INVALID_INPUT", "the model has no state 'x'"),
    "no source": (HandOff(session_id="deep", maps=[Map(target="h", source="c")]), "INVALID_INPUT",
        "model 'deep' has no state 'c'; it has 'h'"),
    "twice": (HandOff(session_id="deep", maps=[Map(target="h")] * 2), "INVALID_INPUT", "'h' is made twice"),
    "one direction": (HandOff(session_id="deep", maps=[Map(target="h", directions=1)]), "INVALID_INPUT",
        "directions of state 'h' cannot be joined: expected two for each layer, and it has 3"),
    "odd directions": (HandOff(session_id="deep", maps=[Map(target="h", directions=7)]), "INVALID_INPUT",
        "directions: expected one of 0 to 2, got 7"),
    "nothing": (HandOff(model="gru"), "INVALID_INPUT", "session_id, session_ids or states, one of them, got none"),
    "both": (HandOff(session_id="deep", states=h_of((3, 1, 5))), "INVALID_INPUT", "one of them, got several"),
    "other number": (HandOff(session_ids=["deep"]), "INVALID_INPUT", "expected 3 session_ids, one for each new"),
    "twice one": (HandOff(session_ids=["deep", "no", "deep"]), "INVALID_INPUT", "each may stand once"),
    "no such session": (HandOff(session_ids=["deep", "no", "not"]), "UNKNOWN_SESSION", "no session 'no'"),
    "no session": (HandOff(session_id="no"), "UNKNOWN_SESSION", "no session 'no'"),
    "no model": (HandOff(model="no", session_id="deep"), "UNKNOWN_MODEL", "unknown model 'no'"),
    "other rows": (HandOff(states=h_of((3, 2, 5))), "INVALID_INPUT", "expected 1 row or 3, got 2"),
    "a NaN": (HandOff(states=h_of((3, 1, 5), np.nan)), "INVALID_INPUT", "a value is NaN or infinite"),
    "another name": (HandOff(states=h_of((3, 1, 5), name="x")), "INVALID_INPUT", "states: expected some of 'h', got"),
    "no axes": (HandOff(states=h_of(())), "INVALID_INPUT", "hand_off.states 'h': expected shape"),
    "others' sizes": (HandOff(states=h_of((2, 1, 5))), "INVALID_INPUT", "expected shape [3, 1, 5], got [2, 1, 5]"),
}  # fmt: skip


async def test_what_disagrees_is_refused_by_name_opens_nothing_and_harms_nobody(served: Served) -> None:
    opened = await served.open("deep", "deep")
    await served.open("lstm_proj", "proj")
    told = {}
    for name, (hand_off, _, text) in WRONG.items():
        request = Open(model="deep", count=3, hand_off=hand_off)
        refusal = await refusal_of(served.sessions.OpenSessions(request))
        told[name] = (refusal.reason, text if text in refusal.message else refusal.message)
    assert told == {name: (reason, text) for name, (_, reason, text) in WRONG.items()}
    good = HandOff(session_id="deep")
    for request, text in (
        (
            Open(model="deep", session_ids=["a"], mode=sessions_pb2.OPEN_MODE_RESUME, hand_off=good),
            "expected the mode NEW",
        ),
        (Open(model="deep", count=1, hand_off=good, h_0=h_of((3, 1, 5))[0].tensor), "an initial state, got both"),
        (Open(model="deep", count=1025, hand_off=good), "expected 1 to 1024 new sessions, got 1025"),
    ):
        assert text in (await refusal_of(served.sessions.OpenSessions(request))).message
    whole = await refusal_of(
        served.sessions.OpenSessions(Open(model="bi_lstm", count=1, hand_off=HandOff(model="deep", session_id="deep")))
    )
    assert (whole.code, whole.reason) == ("INVALID_ARGUMENT", "INVALID_INPUT")
    full = await served.sessions.OpenSessions(Open(model="deep", count=9, hand_off=good))
    assert [error.index for error in full.errors] == [7, 8]
    assert await served.on_engine(lambda: served.runtime("deep").sessions.num_open) == 8
    y = x(2)
    assert_near((await (await served.step()).ask(opened.handles, [y])).rows[0].output, DEEP.run(y)[0])


async def test_a_pool_begins_each_from_the_one_at_its_place_behind_what_is_queued_for_all(
    served: Served, client: elman.AsyncClient
) -> None:
    sequences, y = [x(6), x(2), x(4)], x(3)
    model = await client.model("gru")
    async with model.sessions(3) as encoders:
        await encoders.step(sequences, returning="none")
        async with model.sessions(3, from_=encoders) as decoders:
            for told, sequence in zip(await decoders.step([y] * 3), sequences, strict=True):
                assert_near(told, toy("gru").run(y, *after(toy("gru"), sequence))[0])
        with pytest.raises(elman.InvalidInputError, match="as many sessions as the pool's 3, got 2"):
            await model.sessions(2, from_=encoders)
        with pytest.raises(elman.InvalidInputError, match="as many sessions as the pool's 3, got a session"):
            await model.session(from_=encoders)
    opened = await served.open("gru", "a", "b")
    hand_off = HandOff(session_ids=["a", "b"])
    async with EngineGate(served) as gate:
        stepper = await served.step()
        await stepper.send(opened.handles[1:], [sequences[0]])
        await gate.arrived(1)
        opening = asyncio.ensure_future(served.open("gru", "c", "d", hand_off=hand_off))
        await gate.arrived(2)
    handed = await opening
    told = (await (await served.step()).ask(handed.handles, [y, y])).rows
    assert_near(told[0].output, toy("gru").run(y)[0])
    assert_near(told[1].output, toy("gru").run(y, *after(toy("gru"), sequences[0]))[0])
    close = sessions_pb2.CloseSessionsRequest(model="gru", session_ids=["a", "b", "c", "d"])
    await served.sessions.CloseSessions(close)


async def test_threads_have_the_same_and_the_fake_server_knows_it() -> None:
    def handed() -> None:
        models = [FakeModel("sum", input_size=2), FakeModel("wide", input_size=3)]
        with FakeServer(models) as address, elman.Client(address) as client:
            model = client.model("sum")
            with model.session() as session:
                session.step([[1, 2], [3, 4]])
                with model.session(from_=session) as twin, model.session(from_=session.state()) as other:
                    assert (twin.step([1, 1]) == other.step([1, 1])).all()
                    assert (twin.step([1, 1]) != session.step([0, 0])).all()
                with model.sessions(2) as pool:
                    pool.step([[1, 2], [3, 4]])
                    with model.sessions(2, from_=pool) as twins:
                        assert (twins.step([[1, 1], [1, 1]]) == pool.step([[1, 1], [1, 1]])).all()
                with pytest.raises(elman.InvalidInputError, match=r"expected torch.float32 \[1, 3\]"):
                    client.model("wide").session(from_=session)
                with pytest.raises(elman.InvalidInputError, match='expected mode="new"'):
                    model.session("a", from_=session)

    await asyncio.to_thread(handed)
