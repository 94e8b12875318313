"""The SDK's fake server refuses what the server refuses, in the same words."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from refusals import Refusal, refusal_of
from served import Serve
from test_changed_bundles import write_other_weights
from toys import write_toys

import elman
from elman import wire
from elman._shared import session_ids as sdk_ids
from elman.testing import FakeModel, FakeServer
from elman.testing._many_ids import MAX_IDS
from elman.testing._refusal import Refusal as FakeRefusal
from elman.v1 import (
    inference_pb2,
    inference_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    sessions_pb2,
    sessions_pb2_grpc,
    tensor_pb2,
)
from elman_server import errors
from elman_server.door.elman_v1 import many_ids
from elman_server.door.elman_v1.status import code_of
from elman_server.exchange.session_calls.ids import INTEGER, STRING, is_session_id

KINDS = {kind.reason: kind for kind in errors.ServiceError.__subclasses__() if kind.__module__ == errors.__name__}
GOOD_IDS = ["a", " ", "x" * 128, "😀" * 128, "\u00a0", "\u202e", "\u2028", STRING, STRING + "x" * 128, INTEGER + "5"]
BAD_IDS = ["", "x" * 129, "\n", "a\x00", "\x1f", "\x7f", "\x80", "a\x9f", STRING + "x" * 129, INTEGER + "5" * 128]
Open, Attach, Close = (
    sessions_pb2.OpenSessionsRequest,
    sessions_pb2.AttachSessionsRequest,
    sessions_pb2.CloseSessionsRequest,
)
ODD_REQUESTS: dict[str, Any] = {
    **{f"open {bad!r:.20}": Open(model="gru", session_ids=["good", bad]) for bad in BAD_IDS},
    **{f"attach {bad!r:.20}": Attach(model="gru", session_ids=[bad]) for bad in BAD_IDS},
    **{f"close {bad!r:.20}": Close(model="gru", session_ids=[bad]) for bad in BAD_IDS},
    "open none": Open(model="gru"),
    "open twice": Open(model="gru", session_ids=["a", "b", "a"]),
    "open too many": Open(model="gru", session_ids=map(str, range(MAX_IDS + 1))),
    "open both": Open(model="gru", session_ids=["a"], count=1),
    "count too many": Open(model="gru", count=MAX_IDS + 1),
    "count to resume": Open(model="gru", count=1, mode=sessions_pb2.OPEN_MODE_RESUME),
    "odd mode": Open(model="gru", session_ids=["a"], mode=9),  # type: ignore[arg-type]
    "odd mode and ids": Open(model="nosuch", session_ids=["\n"], mode=9),  # type: ignore[arg-type]
    "odd id of no model": Open(model="nosuch", session_ids=["\n"]),
    "attach odd id of no model": Attach(model="nosuch", session_ids=["\n"]),
    "attach none": Attach(model="gru"),
    "attach twice": Attach(model="gru", session_ids=["a", "a"]),
    "close none": Close(model="gru"),
    "close twice": Close(model="gru", session_ids=["a", "a"]),
}


def named(*names: str) -> list[tensor_pb2.NamedTensor]:
    """One step of one row of the input, under each of the names."""
    return [tensor_pb2.NamedTensor(name=name, tensor=X) for name in names]


X = wire.to_tensor(np.ones((1, 3), np.float32))
ODD_NAMES: dict[str, dict[str, Any]] = {
    "an unknown input": {"inputs": named("x")},
    "an input twice": {"inputs": named("input", "input")},
    "an input by name and without": {"inputs": named("input"), "input": X},
    "an unknown output": {"input": X, "outputs": ["policy"]},
    "an output twice": {"input": X, "outputs": ["output", "output"]},
}
ODD_BEGINNINGS: dict[str, dict[str, Any]] = {
    "a context": {"input": X, "context": named("speaker")},
    "a context twice": {"input": X, "context": named("speaker", "speaker")},
    "states by name": {"input": X, "initial_states": named("h")},
}


class Stubs:
    """Both servers speak the contract."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.models: Any = models_pb2_grpc.ModelsStub(channel)
        self.sessions: Any = sessions_pb2_grpc.SessionsStub(channel)
        self.inference: Any = inference_pb2_grpc.InferenceStub(channel)
        self.health: Any = health_pb2_grpc.HealthStub(channel)

    def ask(self, request: Any) -> Any:
        return getattr(self.sessions, type(request).__name__.removesuffix("Request"))(request)


@asynccontextmanager
async def faked(*models: FakeModel) -> AsyncIterator[tuple[FakeServer, Stubs]]:
    server = FakeServer(models or (FakeModel("gru"),))
    with server as address:
        async with grpc.aio.insecure_channel(address) as channel:
            yield server, Stubs(channel)


@pytest.mark.parametrize("reason", KINDS)
def test_every_refusal_has_the_servers_code(reason: str) -> None:
    assert FakeRefusal(reason).status.code == code_of(KINDS[reason]("")).value[0]


@pytest.mark.parametrize("text", GOOD_IDS + BAD_IDS)
def test_what_can_be_an_id_is_the_same_for_the_sdk_and_the_server(text: str) -> None:
    assert is_session_id(text) is sdk_ids.is_session_id(text) is (text in GOOD_IDS)
    if text in GOOD_IDS:
        assert sdk_ids.check_id("id", text) == text
    else:
        with pytest.raises(elman.InvalidInputError):
            sdk_ids.check_id("id", text)


def test_a_call_takes_as_many_ids_of_both() -> None:
    assert many_ids.MAX_IDS == MAX_IDS >= sdk_ids.IDS_PER_CALL


async def test_ids_and_modes_are_refused_and_taken_as_by_the_server(serve: Serve) -> None:
    served = await serve("gru")
    async with faked() as (_, fake):
        for name, request in ODD_REQUESTS.items():
            real = await refusal_of(getattr(served.sessions, type(request).__name__.removesuffix("Request"))(request))
            assert await refusal_of(fake.ask(request)) == real, name
            assert real.code == "INVALID_ARGUMENT", name
        for stub in (served, fake):
            opened = await stub.sessions.OpenSessions(Open(model="gru", session_ids=GOOD_IDS))
            assert (list(opened.session_ids), list(opened.errors)) == (GOOD_IDS, [])


async def stepped(stubs: Any, session_id: str, **fields: Any) -> inference_pb2.StepResponse:
    """The answer of one frame of one step of a session."""
    opened = await stubs.sessions.OpenSessions(Open(model="gru", session_ids=[session_id]))
    call = stubs.inference.Step()
    await call.write(inference_pb2.StepRequest(frame_id=1, handles=opened.handles, lengths=[1], **fields))
    await call.read()  # who the server is
    response: inference_pb2.StepResponse = await call.read()
    call.cancel()
    return response


async def test_names_are_refused_and_taken_as_by_the_server(serve: Serve) -> None:
    served = await serve("gru")
    async with faked(FakeModel("gru", input_size=3)) as (_, fake):
        for name, fields in (ODD_NAMES | ODD_BEGINNINGS).items():
            request = inference_pb2.InferRequest(model="gru", lengths=[1], **fields)
            real = await refusal_of(served.inference.Infer(request))
            assert await refusal_of(fake.inference.Infer(request)) == real, name
            assert real.code == "INVALID_ARGUMENT", name
        for name, fields in ODD_NAMES.items():
            real, told = [Refusal.of((await stepped(stubs, name, **fields)).frame_error) for stubs in (served, fake)]
            assert told == real, name
        by_name = {"inputs": named("input"), "outputs": ["output"]}
        for stubs in (served, fake):
            answer = await stubs.inference.Infer(inference_pb2.InferRequest(model="gru", lengths=[1], **by_name))
            assert answer.HasField("output")
            assert not answer.outputs
            result = await stepped(stubs, "good", **by_name)
            assert (result.HasField("output"), list(result.finished)) == (True, [0])


async def test_a_context_of_a_model_without_any_is_refused_as_by_the_server(serve: Serve) -> None:
    served = await serve("gru")
    async with faked() as (_, fake):
        for names in (["speaker"], ["speaker", "speaker"]):
            request = Open(model="gru", count=1, context=named(*names))
            real = await refusal_of(served.sessions.OpenSessions(request))
            assert await refusal_of(fake.sessions.OpenSessions(request)) == real
            assert real.message.startswith("context: ")
        told = []
        for stubs in (served, fake):
            await stubs.sessions.OpenSessions(Open(model="gru", session_ids=["a"]))
            resume = Open(model="gru", session_ids=["a"], mode=sessions_pb2.OPEN_MODE_RESUME, context=named("speaker"))
            answer = await stubs.sessions.OpenSessions(resume)
            told.append((list(answer.resumed), list(answer.handles), [Refusal.of(e.status) for e in answer.errors]))
        assert told[0] == told[1]
        assert told[0][:2] == ([False], [0])


async def test_models_are_described_by_name_as_by_the_server(serve: Serve) -> None:
    served = await serve("gru", "lstm")
    async with faked(FakeModel("gru", input_size=3), FakeModel("lstm", input_size=3, is_lstm=True)) as (_, fake):
        for model in ("gru", "lstm"):
            request = models_pb2.DescribeModelRequest(model=model)
            real, told = [(await stubs.models.DescribeModel(request)).model for stubs in (served, fake)]
            for field in ("inputs", "context", "states", "outputs"):
                pairs = [[(one.name, one.dtype) for one in getattr(info, field)] for info in (real, told)]
                assert pairs[0] == pairs[1]


async def test_another_processes_calls_are_told_to_attach_again_as_by_the_server(serve: Serve) -> None:
    served = await serve("gru")
    async with faked() as (_, fake):
        told: list[Refusal] = []
        for stub in (served, fake):
            for request in (Open(model="gru", count=1), Attach(model="gru", session_ids=["a"])):
                request.server_instance = "another"
                call = getattr(stub.sessions, type(request).__name__.removesuffix("Request"))
                told.append(await refusal_of(call(request)))
        assert {(one.code, one.reason) for one in told} == {("ABORTED", "RE_ATTACH")}
        assert [set(one.says) for one in told] == [{"server_instance"}] * 4


def calls_while_loading(stubs: Any) -> list[Callable[[], Any]]:
    return [
        lambda: stubs.models.ListModels(models_pb2.ListModelsRequest()),
        lambda: stubs.models.LoadModel(models_pb2.LoadModelRequest(model="gru")),
        lambda: stubs.sessions.OpenSessions(Open(model="gru", count=1)),
        lambda: stubs.sessions.OpenSessions(Open(model="nosuch")),
        lambda: stubs.sessions.ListSessions(sessions_pb2.ListSessionsRequest(model="gru")),
        lambda: stubs.inference.Infer(inference_pb2.InferRequest(model="gru")),
        lambda: stubs.inference.Step().read(),
    ]


async def test_while_models_load_calls_are_refused_as_by_the_server(serve: Serve) -> None:
    served = await serve("gru")
    async with faked() as (server, fake):
        served.server.door.loading = True
        server.begin_loading(1.0)
        expected = Refusal("UNAVAILABLE", "the server has begun and loads its models; try again", "LOADING", (), 1.0)
        for stubs in (served, fake):
            for call in calls_while_loading(stubs):
                assert await refusal_of(call()) == expected
        served.server.door.loading = False
        server.end_loading()
        for stubs in (served, fake):
            assert (await stubs.sessions.OpenSessions(Open(model="gru", count=1))).handles


async def test_a_load_of_changed_files_is_refused_as_by_the_server_until_the_model_was_unloaded(
    serve: Serve, tmp_path: Path
) -> None:
    folder = write_toys(tmp_path / "mine", ["gru"])
    served = await serve(models=folder)
    load, unload = models_pb2.LoadModelRequest(model="gru"), models_pb2.UnloadModelRequest(model="gru")
    async with faked() as (server, fake):
        for stubs in (served, fake):
            assert [m.name for m in (await stubs.models.LoadModel(load)).models] == ["gru"]
        write_other_weights(folder / "gru")
        server.overwrite(FakeModel("gru", input_size=3))
        real = await refusal_of(served.models.LoadModel(load))
        assert await refusal_of(fake.models.LoadModel(load)) == real
        assert real.reason == "MODEL_CHANGED"
        for stubs in (served, fake):
            await stubs.models.UnloadModel(unload)
            await stubs.models.LoadModel(load)
        assert (await fake.models.LoadModel(load)).models[0].input_size == 3
        write_other_weights(folder / "gru2", version="2")
        server.overwrite(FakeModel("gru", version="2"))
        for stubs in (served, fake):
            assert sorted(m.version for m in (await stubs.models.LoadModel(load)).models) == ["1", "2"]


async def test_health_says_not_serving_while_models_load() -> None:
    async with faked() as (server, fake):
        server.begin_loading()
        for name in ("", "gru", "elman.v1.Inference"):
            answer = await fake.health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        server.end_loading()
        answer = await fake.health.Check(health_pb2.HealthCheckRequest(service="gru"))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
