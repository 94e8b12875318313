"""Generations that meet what they should not: odd requests, callers that vanish, sessions that move."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio
from engine_gate import EngineGate
from refusals import refusal_of
from served import Served, serving
from test_generate import reference
from toys import SPECS, Toy, random_input, toy, write_toys

import elman
from elman import wire
from elman.v1 import inference_pb2, models_pb2, sessions_pb2, tensor_pb2
from elman_models import write_bundle
from elman_models.generation.sampling import SamplingRules, sample
from elman_server.door.door import ANONYMOUS
from elman_server.exchange.session_calls.calls import Owner
from elman_server.generating.generators import Generators

pytestmark = pytest.mark.asyncio(loop_scope="module")
Generate, Sampling = inference_pb2.GenerateRequest, inference_pb2.Sampling
GREEDY = {"temperature": 0.0}
QUEUE_ROWS = 8
GUARD_SECONDS = 120


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder = write_toys(tmp_path_factory.mktemp("broken"), ["tokens"])
    other = Toy(SPECS["tokens"].model_copy(update={"version": "0"}))
    write_bundle(folder / "tokens-0", other.spec, other.state_dict())
    async with serving(folder, max_slice=3, max_sessions=256) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(served: Served) -> AsyncIterator[elman.AsyncClient]:
    async with elman.AsyncClient(served.server.address) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def nothing_is_left(served: Served) -> AsyncIterator[None]:
    """After each test no session is there, nothing waits, nobody is charged, and the engine serves."""
    yield
    await close(served, "s", "child")
    engine, catalogue = served.server.door.engine, served.server.catalogue
    generators = served.server._inference._generators

    def left() -> Any:
        callers = served.server.door.callers._callers.values()
        runtimes = list(catalogue.runtimes())
        return (
            sum(one.rows + one.num_bytes for one in callers),
            sum(method.endswith("/Generate") for method in list(served.server._grpc._tasks.values())),
            sum(one.sessions.num_open for one in runtimes),
            sum(len(one._cohorts) for one in generators._generators.values()),
            generators._telling._is_due,  # what it posts later would be taken for what the next test has sent
            sum(one.queue_rows for one in runtimes),
        )

    # On the one connection it comes behind all calls of the test, those that were cancelled included.
    assert await tokens_of(served, prompt=[3, 1], max_steps=5) == reference([3, 1], 5, SamplingRules(**GREEDY))[0]
    async with asyncio.timeout(GUARD_SECONDS):
        while any(await engine.call(left)):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def asked(*, prompt: Any = None, temperature: float = 0.0, **fields: Any) -> Any:
    request = Generate(**{"model": "tokens", "max_steps": 10, **fields})
    if prompt is not None:
        wire.fill_tensor(request.input, np.array(prompt, np.int64))
    if not request.HasField("sampling"):
        request.sampling.temperature = temperature
    return request


async def tokens_of(served: Served, **fields: Any) -> list[int]:
    tokens: list[int] = []
    async for response in served.inference.Generate(asked(**fields)):
        if response.HasField("steps"):
            tokens += wire.from_tensor(response.steps, name="steps").tolist()
    return tokens


async def first_of(call: Any, steps: int = 1) -> list[int]:
    """The first steps of a call that goes on."""
    tokens: list[int] = []
    while len(tokens) < steps:
        response = await call.read()
        if response.HasField("steps"):
            tokens += wire.from_tensor(response.steps, name="steps").tolist()
    return tokens


async def ended(call: Any) -> Any:
    """How a call ends that goes on."""

    async def read() -> None:
        while await call.read() is not grpc.aio.EOF:
            pass

    async with asyncio.timeout(GUARD_SECONDS):
        return await refusal_of(read())


async def close(served: Served, *ids: str) -> None:
    await served.sessions.CloseSessions(sessions_pb2.CloseSessionsRequest(model="tokens", session_ids=ids))


ODD: list[tuple[dict[str, Any], str]] = [
    ({"max_steps": 0}, "max_steps: expected 1"),
    ({"told": 3}, "told: nothing was generated from position 0 yet, got 3"),
    ({"position": 0}, "position: expected a session_id with it"),
    ({"feedback": [inference_pb2.Feedback(kind=9)]}, "feedback, kind: expected one of 0 to 4, got 9"),  # type: ignore[arg-type]
    ({"feedback": [inference_pb2.Feedback(), inference_pb2.Feedback()]}, "stands twice"),
    ({"feedback": [inference_pb2.Feedback(kind=inference_pb2.Feedback.KIND_NORMAL)]}, "cannot be fed"),
    ({"feedback": [inference_pb2.Feedback(kind=inference_pb2.Feedback.KIND_MIXTURE)]}, "a mixture has means"),
    ({"beams": 3, "length_penalty": 1e6}, "length_penalty: expected -16 to 16, got 1e"),
    ({"beams": 3, "length_penalty": -1e6}, "length_penalty: expected -16 to 16, got -1e"),
    ({"beams": 3, "length_penalty": float("nan")}, "length_penalty: expected a finite number"),
    ({"stop": [-1]}, "stop: tokens of this model are in"),
    ({"prompt": []}, "a prompt has at least one step"),
    ({"input": tensor_pb2.Tensor(shape=[2**62], dtype=4)}, "input"),
    ({"input": tensor_pb2.Tensor(shape=[-1])}, "at least one step"),
    ({"version": "9"}, "no version"),
    ({"model": "none"}, "none"),
    ({"session_id": "nobody"}, "no session"),
]


@pytest.mark.parametrize(("fields", "text"), ODD, ids=[text for _, text in ODD])
async def test_odd_requests_are_refused_by_name(served: Served, fields: dict[str, Any], text: str) -> None:
    given = {"prompt": [1], **fields} if "input" not in fields else fields
    refusal = await ended(served.inference.Generate(asked(**given)))
    assert text in refusal.message
    assert refusal.code not in ("UNKNOWN", "INTERNAL")


@pytest.mark.parametrize("in_session", [False, True])
async def test_a_prompt_may_have_tokens_that_never_follow(served: Served, *, in_session: bool) -> None:
    rules = {"temperature": 0.0, "repetition_penalty": 3.0}
    if in_session:
        await served.open("tokens", "s")
    fields = {"session_id": "s"} if in_session else {}
    tokens = await tokens_of(served, prompt=[9, 3, 10], max_steps=8, sampling=Sampling(**rules), **fields)
    assert tokens == reference([9, 3, 10], 8, SamplingRules(**rules))[0]


@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 1e-30])
async def test_the_smallest_temperatures_take_the_likeliest(served: Served, temperature: float) -> None:
    tokens = await tokens_of(served, prompt=[3, 1], max_steps=6, temperature=temperature)
    assert tokens == reference([3, 1], 6, SamplingRules(**GREEDY))[0]


async def test_a_cold_draw_is_the_largest_logit_whatever_its_size() -> None:
    tokens, _ = sample(np.array([[1e30, 3e38, -3e38]], np.float32), [SamplingRules(1, temperature=5e-324)], [0], [[]])
    assert tokens.tolist() == [1]


@pytest.mark.parametrize("beams", [0, 4])
async def test_many_that_are_opened_and_cancelled_at_once_leave_nothing(served: Served, beams: int) -> None:
    count = 200 if not beams else 40
    calls = [served.inference.Generate(asked(prompt=[1], max_steps=60000, beams=beams)) for _ in range(count)]
    await asyncio.sleep(0.02)
    for call in calls:
        call.cancel()


async def test_who_cancels_before_its_turn_comes_steps_no_session(served: Served) -> None:
    await served.open("tokens", "s")
    async with EngineGate(served) as gate:
        call = served.inference.Generate(asked(prompt=[1], max_steps=60000, session_id="s"))
        await gate.arrived(1)
        call.cancel()
        await gate.arrived(2)
    await settled(served)
    assert await admitted(served, "s") == 0


async def test_a_cancelled_generation_ends_within_a_step(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    there, leave, has_left = [], Generators.leave, asyncio.Event()
    loop, runtime = asyncio.get_running_loop(), served.runtime("tokens")

    def watched(self: Generators, listener: Any) -> None:
        leave(self, listener)
        there.append(int(runtime.sessions.admitted[listener.generation.slot]))
        loop.call_soon_threadsafe(has_left.set)

    monkeypatch.setattr(Generators, "leave", watched)
    await served.open("tokens", "s")
    call = served.inference.Generate(asked(prompt=[1], max_steps=60000, session_id="s"))
    await first_of(call, 3)
    call.cancel()
    await has_left.wait()
    await settled(served)
    assert there == [await admitted(served, "s")]


async def test_sessions_that_generate_share_engine_steps(served: Served) -> None:
    batches, ids = served.runtime("tokens").metrics.batches, [f"s{i}" for i in range(64)]
    await served.open("tokens", *ids)
    before = {rows: one.count for rows, one in batches.by_rows.items()}
    async with EngineGate(served) as gate:
        calls = [served.inference.Generate(asked(prompt=[1], max_steps=100, session_id=one)) for one in ids]
        await gate.arrived(64)
    await asyncio.gather(*[first_of(call, 100) for call in calls])
    rows = {rows: one.count - before.get(rows, 0) for rows, one in batches.by_rows.items()}
    assert max(size for size, count in rows.items() if count) == 64
    assert rows[64] >= 50  # of the hundred: the first ones began earlier, and end so
    await close(served, *ids)


async def test_two_callers_of_one_session_get_their_own_tokens_or_an_error(served: Served) -> None:
    await served.open("tokens", "s")
    await tokens_of(served, prompt=[3, 1], max_steps=3, session_id="s")
    first = served.inference.Generate(asked(max_steps=60000, session_id="s"))
    told = await first_of(first)
    second = await tokens_of(served, max_steps=20, session_id="s", temperature=1.0, sampling=Sampling(seed=5))
    refusal = await ended(first)
    assert refusal.reason == "ANSWER_GONE"
    assert len(second) == 20
    sequence = reference([3, 1], 5 + int(refusal.says["position"]), SamplingRules(**GREEDY))[0]
    before = int(refusal.says["position"])
    assert sequence[3 : 3 + len(told)] == told
    history = [3, 1, *sequence[: before - 2]]
    assert second == reference(history, 20, SamplingRules(seed=5))[0]


async def test_the_same_asked_twice_goes_on_with_the_second(served: Served) -> None:
    await served.open("tokens", "s")
    fields = {"prompt": [2], "max_steps": 300, "session_id": "s", "position": 0}
    first = served.inference.Generate(asked(**fields))
    await first_of(first)
    tokens = await tokens_of(served, **fields)
    assert (await ended(first)).reason == "SUPERSEDED"
    assert tokens == await tokens_of(served, prompt=[2], max_steps=300)


async def test_after_a_rewind_it_does_not_go_on_from_what_was_before(served: Served, client: elman.AsyncClient) -> None:
    model = await client.model("tokens")
    async with model.session("s") as session:
        await session.mark("begin")
        fields = {"prompt": [2], "max_steps": 6, "session_id": "s", "position": 0}
        await tokens_of(served, **fields)
        await session.rewind("begin")
        await session.step([7] * 7)  # to the same position
    assert (await ended(served.inference.Generate(asked(**fields)))).reason == "ANSWER_GONE"


async def test_a_session_that_moved_and_came_back_does_not_go_on_from_what_was_before(served: Served) -> None:
    await served.open("tokens", "s")
    fields = {"prompt": [2], "session_id": "s", "position": 0, "max_steps": 6}
    await tokens_of(served, **fields)
    await move(served, "s")
    await set_state(served, "s")
    await move(served, "s", "1")
    assert (await ended(served.inference.Generate(asked(**fields)))).reason == "ANSWER_GONE"


async def set_state(served: Served, name: str) -> None:
    await served.sessions.SetSessionState(
        sessions_pb2.SetSessionStateRequest(model="tokens", session_id=name, reset=True)
    )


async def move(served: Served, name: str, version: str = "0") -> None:
    asked = sessions_pb2.MoveSessionRequest(model="tokens", session_id=name, version=version)
    assert not (await served.sessions.MoveSession(asked)).errors


async def attach(served: Served, name: str) -> None:
    await served.open("tokens", name, mode=sessions_pb2.OPEN_MODE_RESUME)


async def expire(served: Served, name: str) -> None:
    runtime = served.runtime("tokens")
    directory = served.server.catalogue.directory("tokens")

    def end() -> None:
        slot = directory.find(Owner(ANONYMOUS, name)).slot
        runtime.after_queued(slot, lambda: directory.end(runtime, np.array([slot]), "expired", served.clock.now()))

    await served.on_engine(end)


MEANWHILE = {
    "ended": (close, {"STALE_HANDLE"}),
    "moved": (move, {"STALE_HANDLE", "SESSION_EXPIRED"}),
    "set": (set_state, {"ANSWER_GONE"}),
    "attached": (attach, {"STALE_HANDLE"}),
    "expired": (expire, {"SESSION_EXPIRED"}),
}


@pytest.mark.parametrize("beams", [0, 3])
@pytest.mark.parametrize("what", MEANWHILE)
async def test_what_befalls_the_session_ends_what_it_generates(served: Served, what: str, beams: int) -> None:
    do, reasons = MEANWHILE[what]
    await served.open("tokens", "s")
    call = served.inference.Generate(asked(prompt=[1], max_steps=60000, session_id="s", beams=beams))
    await call.read() if beams else await first_of(call)
    await do(served, "s")
    assert (await ended(call)).reason in reasons


@pytest.mark.parametrize("beams", [0, 3])
async def test_forks_of_a_session_that_generates_go_on_from_where_it_is(served: Served, beams: int) -> None:
    await served.open("tokens", "s")
    call = served.inference.Generate(asked(prompt=[1], max_steps=60000, session_id="s", beams=beams))
    await call.read() if beams else await first_of(call)
    name = {"model": "tokens", "session_id": "s"}
    forked = await served.sessions.ForkSession(sessions_pb2.ForkSessionRequest(**name, session_ids=["child"]))
    call.cancel()
    position = forked.positions[0]
    history = [1, *reference([1], position - 1, SamplingRules(**GREEDY))[0]]
    assert await tokens_of(served, max_steps=5, session_id="child") == reference(history, 5, SamplingRules(**GREEDY))[0]


@pytest.mark.parametrize("beams", [0, 3])
async def test_a_caller_that_never_reads_holds_nobody_up(served: Served, beams: int) -> None:
    call = served.inference.Generate(asked(prompt=[1], max_steps=3000, beams=beams))
    assert await tokens_of(served, prompt=[2], max_steps=20) == reference([2], 20, SamplingRules(**GREEDY))[0]
    call.cancel()


async def test_more_than_the_queue_holds_take_turns(tmp_path: Path) -> None:
    ids = [f"s{i}" for i in range(3 * QUEUE_ROWS)]
    async with serving(write_toys(tmp_path, ["tokens"]), max_queue_rows=QUEUE_ROWS) as small:
        handles, stepper = (await small.open("tokens", *ids)).handles, await small.step()
        for handle in handles:
            await stepper.ask([handle], [np.array([1])])
        async with EngineGate(small) as gate:  # so that all go on in one frame
            going = [
                asyncio.ensure_future(tokens_of(small, session_id=one, max_steps=5, sampling=Sampling(seed=seed)))
                for seed, one in enumerate(ids)
            ]
            await gate.arrived(len(ids))
        async with asyncio.timeout(GUARD_SECONDS):
            tokens = await asyncio.gather(*going)  # none is refused
    assert tokens == [reference([1], 5, SamplingRules(seed=seed))[0] for seed in range(len(ids))]


async def test_beams_without_room_for_their_sessions_are_refused(tmp_path: Path) -> None:
    async with serving(write_toys(tmp_path, ["tokens"]), max_sessions=4) as small:
        refusal = await ended(small.inference.Generate(asked(prompt=[1], max_steps=5, beams=4)))
        assert refusal.says["limit"] == "max_sessions"
        async with asyncio.timeout(GUARD_SECONDS):
            while await small.on_engine(lambda: small.runtime("tokens").sessions.num_open):
                pass
        assert len(await tokens_of(small, prompt=[1], max_steps=5, beams=3)) == 5


async def test_each_generation_counts_as_a_row_of_its_caller_until_it_has_ended(tmp_path: Path) -> None:
    async with serving(write_toys(tmp_path, ["tokens"]), max_caller_rows=2) as small:
        calls = [small.inference.Generate(asked(prompt=[1], max_steps=60000)) for _ in range(2)]
        for call in calls:
            await first_of(call)
        refusal = await ended(small.inference.Generate(asked(prompt=[1])))
        assert (refusal.code, refusal.says["limit"]) == ("RESOURCE_EXHAUSTED", "max_caller_rows")
        calls[0].cancel()
        async with asyncio.timeout(GUARD_SECONDS):
            while sum(one.rows for one in small.server.door.callers._callers.values()) > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert await tokens_of(small, prompt=[1], max_steps=5) == reference([1], 5, SamplingRules(**GREEDY))[0]
        calls[1].cancel()


@pytest.mark.parametrize("beams", [0, 3])
async def test_a_model_that_is_unloaded_ends_what_it_generates_by_name_and_nothing_else(
    tmp_path: Path, beams: int
) -> None:
    async with serving(write_toys(tmp_path, ["tokens", "lstm_fed"])) as small:
        neighbour, stepper = await small.open("lstm_fed", "s"), await small.step()
        await small.open("tokens", "s")
        runtime = weakref.ref(small.runtime("tokens"))
        calls = [
            small.inference.Generate(asked(prompt=[1], max_steps=60000, beams=beams, session_id=name))
            for name in ("s", "")
        ]
        for call in calls:
            await call.read() if beams else await first_of(call)
        async with asyncio.timeout(GUARD_SECONDS):
            await small.models.UnloadModel(models_pb2.UnloadModelRequest(model="tokens"))
        for call in calls:
            assert (await ended(call)).reason in ("DRAINING", "SESSION_EXPIRED")
        refusal = await ended(small.inference.Generate(asked(prompt=[1])))
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "UNKNOWN_MODEL")
        async with asyncio.timeout(GUARD_SECONDS):
            while runtime() is not None:  # its weights and its states are let go of
                await asyncio.sleep(0.1)
                gc.collect()
        data = random_input(toy("lstm_fed").spec, np.random.default_rng(1), 3)
        answer = await stepper.ask(neighbour.handles, [data])
        assert np.allclose(answer.rows[0].output, toy("lstm_fed").run(data)[0], atol=1e-5)


@pytest.mark.parametrize("beams", [0, 3])
@pytest.mark.parametrize("reads", [False, True])
async def test_a_server_that_stops_ends_what_is_generated(tmp_path: Path, beams: int, *, reads: bool) -> None:
    async with serving(write_toys(tmp_path, ["tokens"])) as small:
        call = small.inference.Generate(asked(prompt=[1], max_steps=60000, beams=beams))
        await call.read() if beams else await first_of(call)
        stopping = asyncio.ensure_future(small.server.stop())
        if reads:
            assert (await ended(call)).reason == "DRAINING"
        async with asyncio.timeout(GUARD_SECONDS):
            await stopping


async def test_an_engine_that_fails_tells_who_generates_and_who_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        raise IndexError("index is out of bounds")

    async with serving(write_toys(tmp_path, ["tokens"])) as small:
        opened, stepper = await small.open("tokens", "s", "other"), await small.step()
        calls = [small.inference.Generate(asked(prompt=[1], max_steps=60000, session_id="s"))]
        await first_of(calls[0])
        async with EngineGate(small) as gate:
            await stepper.send(opened.handles[1:], [np.array([1])])
            await gate.arrived(1)
            calls.append(small.inference.Generate(asked(prompt=[2], max_steps=60000, session_id="other")))
            await gate.arrived(2)  # its turn comes behind the step
            monkeypatch.setattr(small.runtime("tokens").scheduler, "form", broken)
        for call in calls:
            assert (await ended(call)).reason == "ENGINE_FAILED"
        monkeypatch.undo()


async def admitted(served: Served, name: str) -> int:
    """Where a session is, as far as its steps were taken in."""
    runtime, slot = served.server.catalogue.directory("tokens").find(Owner(ANONYMOUS, name))
    return int(runtime.sessions.admitted[slot])


async def settled(served: Served) -> None:
    """What was posted has run, and what that posted."""
    for _ in range(5):
        await served.on_engine(lambda: None)
