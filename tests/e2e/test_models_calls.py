"""Loading, unloading, listing; health, reflection and metrics."""

import asyncio
import gc
import urllib.request
import weakref
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from engine_gate import EngineGate
from failing import Failing
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from refusals import refusal_of
from served import Serve, Served
from toys import SPECS, random_input, write_toys
from until import until

from elman.v1 import models_pb2 as pb
from elman_server.door.elman_v1 import step_stream

RNG = np.random.default_rng(9)


async def listed(served: Served) -> list[str]:
    return [model.name for model in (await served.models.ListModels(pb.ListModelsRequest())).models]


async def test_models_are_listed_page_by_page_and_described(serve: Serve) -> None:
    served = await serve("lstm_proj", "gru", "tokens")
    assert await listed(served) == ["gru", "lstm_proj", "tokens"]
    first = await served.models.ListModels(pb.ListModelsRequest(page_size=2))
    rest = await served.models.ListModels(pb.ListModelsRequest(page_size=2, page_token=first.next_page_token))
    assert [m.name for m in first.models] + [m.name for m in rest.models] == ["gru", "lstm_proj", "tokens"]
    assert rest.next_page_token == ""
    info = (await served.models.DescribeModel(pb.DescribeModelRequest(model="lstm_proj"))).model
    assert (info.cell, info.proj_size, info.state_size, info.output_size) == (pb.CELL_LSTM, 2, 2, 2)
    assert info.session_state_bytes == 2 * (2 + 5) * 4
    assert list(info.input_features) == [3]
    token = (await served.models.DescribeModel(pb.DescribeModelRequest(model="tokens"))).model
    assert (token.embedding.num_embeddings, token.head.out_features, list(token.input_features)) == (11, 4, [])


async def test_a_list_goes_on_after_a_model_that_was_unloaded_meanwhile(serve: Serve) -> None:
    served = await serve("lstm_proj", "gru", "tokens")
    first = await served.models.ListModels(pb.ListModelsRequest(page_size=1))
    await served.models.UnloadModel(pb.UnloadModelRequest(model="lstm_proj"))
    rest = await served.models.ListModels(pb.ListModelsRequest(page_token=first.next_page_token))
    assert [m.name for m in first.models] + [m.name for m in rest.models] == ["gru", "tokens"]


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (pb.DescribeModelRequest(model="x"), "NOT_FOUND", "UNKNOWN_MODEL"),
        (pb.DescribeModelRequest(model="gru", version="2"), "NOT_FOUND", "UNKNOWN_MODEL"),
        (pb.LoadModelRequest(model="x"), "NOT_FOUND", "UNKNOWN_MODEL"),
        (pb.UnloadModelRequest(model="x"), "NOT_FOUND", "UNKNOWN_MODEL"),
        (pb.ListModelsRequest(page_size=-1), "INVALID_ARGUMENT", "INVALID_INPUT"),
        (pb.ListModelsRequest(page_token="x"), "INVALID_ARGUMENT", "INVALID_INPUT"),
        (pb.ListModelsRequest(page_token="gru/"), "INVALID_ARGUMENT", "INVALID_INPUT"),
        (pb.ListModelsRequest(page_token="gru/\u00b2"), "INVALID_ARGUMENT", "INVALID_INPUT"),
    ],
)
async def test_a_call_for_what_is_not_there_is_refused(serve: Serve, request_: Any, code: str, reason: str) -> None:
    served = await serve("gru")
    method = getattr(served.models, type(request_).__name__.removesuffix("Request"))
    refusal = await refusal_of(method(request_))
    assert (refusal.code, refusal.reason) == (code, reason)


async def test_an_unloaded_model_is_gone_and_can_be_loaded_again(serve: Serve) -> None:
    served = await serve("gru", "lstm")
    opened = await served.open("gru", "a")
    stepper = await served.step()
    data = [random_input(SPECS["gru"], RNG, 20)]
    async with EngineGate(served) as engine_gate:
        admitted = await stepper.send(opened.handles, data)
        await engine_gate.arrived(1)
        unloading = asyncio.ensure_future(served.models.UnloadModel(pb.UnloadModelRequest(model="gru")))
        await engine_gate.arrived(2)
    await stepper.finish(admitted)
    assert admitted.rows[0].position == 20
    assert [m.name for m in (await unloading).models] == ["gru"]
    assert await listed(served) == ["lstm"]
    assert await served.health_of("gru") == "NOT_SERVING"
    stale = await stepper.ask(opened.handles, data)
    assert stale.rows[0].error
    assert stale.rows[0].error.reason == "SESSION_EXPIRED"
    loaded = await served.models.LoadModel(pb.LoadModelRequest(model="gru"))
    assert [m.name for m in loaded.models] == ["gru"]
    assert await served.health_of("gru") == "SERVING"
    again = await served.open("gru", "a")
    assert list(again.positions) == [0]
    assert (await stepper.ask(again.handles, data)).rows[0].position == 20


async def test_two_unloads_at_once_leave_the_server_alive(serve: Serve) -> None:
    served = await serve("gru", "lstm")
    request = pb.UnloadModelRequest(model="gru")
    async with EngineGate(served) as engine_gate:
        calls = [asyncio.ensure_future(served.models.UnloadModel(request)) for _ in range(2)]
        await engine_gate.arrived(1)
        await until(lambda: len(served.server.door._calls) == 2)
    await asyncio.gather(*calls)
    assert (await served.open("lstm", count=1)).positions == [0]


async def test_what_another_call_has_unloaded_meanwhile_is_no_reason_to_wait(serve: Serve) -> None:
    served = await serve("gru", "lstm")
    gone = served.runtime("gru")
    await served.models.UnloadModel(pb.UnloadModelRequest(model="gru"))
    await asyncio.wait_for(served.server.door.unload([gone, served.runtime("lstm")]), 120)
    assert await listed(served) == []
    await served.models.LoadModel(pb.LoadModelRequest(model="gru"))
    assert await listed(served) == ["gru"]


async def test_a_model_that_is_asked_for_while_it_is_unloaded_is_loaded_anew(serve: Serve) -> None:
    served = await serve("gru", "lstm")
    opened = await served.open("gru", count=1)
    stepper = await served.step()
    async with EngineGate(served) as engine_gate:
        ask = await stepper.send(opened.handles, [random_input(SPECS["gru"], RNG, 20)])
        await engine_gate.arrived(1)
        unloading = asyncio.ensure_future(served.models.UnloadModel(pb.UnloadModelRequest(model="gru")))
        await engine_gate.arrived(2)
        loading = asyncio.ensure_future(served.models.LoadModel(pb.LoadModelRequest(model="gru")))
        await served.health_of("")  # which comes after it
        assert await served.health_of("gru") == "NOT_SERVING"
    await stepper.finish(ask)
    await unloading
    assert [m.name for m in (await loading).models] == ["gru"]
    assert await served.health_of("gru") == "SERVING"
    assert list((await served.open("gru", count=1)).positions) == [0]


async def test_a_stop_does_not_wait_for_those_who_watch(serve: Serve) -> None:
    served = await serve("gru", drain=600.0)
    watch = served.health.Watch(health_pb2.HealthCheckRequest(service="gru"))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    await asyncio.wait_for(served.server.stop(), 120)
    assert await watch.code() is grpc.StatusCode.CANCELLED


async def test_an_unload_whose_caller_gives_up_goes_on_without_it(serve: Serve) -> None:
    served = await serve("gru", "lstm")
    catalogue, failures = served.server.catalogue, []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    async with EngineGate(served) as engine_gate:
        unloading = asyncio.create_task(served.server.models.unload(catalogue.directory("gru").version("")))
        await engine_gate.arrived(1)
        unloading.cancel()
    await served.open("lstm", count=1)
    assert await listed(served) == ["lstm"]
    assert failures == []


async def test_an_unloaded_model_is_let_go_of(serve: Serve) -> None:
    served = await serve("gru", "lstm")
    runtime = weakref.ref(served.runtime("gru"))
    await served.models.UnloadModel(pb.UnloadModelRequest(model="gru"))
    await served.open("lstm", count=1)
    gc.collect()
    assert runtime() is None


async def test_a_broken_bundle_is_refused_at_load_and_the_message_names_it(serve: Serve, tmp_path: Path) -> None:
    folder = write_toys(tmp_path / "mine", ["lstm"])
    served = await serve(models=folder)
    write_toys(folder, ["gru"])
    weights = folder / "gru" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])
    refusal = await refusal_of(served.models.LoadModel(pb.LoadModelRequest(model="gru")))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "BROKEN_BUNDLE")
    assert "gru" in refusal.message
    (folder / "gru" / "model.yaml").write_text("cell: [")
    refusal = await refusal_of(served.models.LoadModel(pb.LoadModelRequest(model="gru")))
    assert refusal.reason == "BROKEN_BUNDLE"
    assert "model.yaml" in refusal.message
    assert await listed(served) == ["lstm"]
    assert (await served.open("lstm", count=1)).positions == [0]


async def test_health_is_told_overall_by_service_and_by_model(serve: Serve) -> None:
    served = await serve("gru")
    for name in ("", "gru", "elman.v1.Inference", "elman.v1.Sessions", "elman.v1.Models"):
        assert await served.health_of(name) == "SERVING"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.health_of("nope")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_the_services(serve: Serve) -> None:
    served = await serve("gru")
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    names = {service.name for service in (await call.read()).list_services_response.service}
    assert {"elman.v1.Inference", "elman.v1.Sessions", "elman.v1.Models", "grpc.health.v1.Health"} <= names


async def test_what_fails_inside_is_counted(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve("gru")
    opened, stepper = await served.open("gru", count=3), await served.step()
    data = [random_input(SPECS["gru"], RNG, 1)] * 3
    with Failing.put_into(served.runtime("gru")).failing():
        ask = await stepper.ask(opened.handles, data)
    assert {row.error.reason for row in ask.rows if row.error} == {"ENGINE_FAILED"}
    monkeypatch.setattr(step_stream, "write_answer", lambda *_: 1 / 0)
    await stepper.send(opened.handles, data, positions=[0, 0, 0])
    assert (await stepper.call.code()).name == "UNKNOWN"
    text = await asyncio.to_thread(scrape, served)
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    assert float(lines['elman_rejected_rows_total{model="gru",reason="ENGINE_FAILED",version="1"}']) == 3
    assert float(lines['elman_requests_total{code="UNKNOWN",method="Step"}']) == 1


async def test_metrics_count_what_was_done(serve: Serve) -> None:
    served = await serve("gru", max_slice=4)
    stepper = await served.step()
    opened = await served.open("gru", count=3)
    data = [random_input(SPECS["gru"], RNG, n) for n in (9, 5, 1)]
    await stepper.ask(opened.handles, data, positions=[0, 0, 0])
    await stepper.ask(opened.handles, data, positions=[0, 0, 0])
    await stepper.ask(opened.handles[:1], data[:1], positions=[99])
    text = await asyncio.to_thread(scrape, served)
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    model = 'model="gru",version="1"'
    assert float(lines[f"elman_session_steps_total{{{model}}}"]) == 15
    assert float(lines[f"elman_padded_steps_total{{{model}}}"]) == 0
    assert float(lines[f"elman_replayed_chunks_total{{{model}}}"]) == 3
    assert float(lines['elman_rejected_rows_total{model="gru",reason="POSITION_AHEAD",version="1"}']) == 1
    assert float(lines['elman_sessions{model="gru",tier="pool",version="1"}']) == 3
    assert float(lines['elman_requests_total{code="OK",method="Step"}']) >= 2
    assert float(lines[f"elman_queue_seconds_count{{{model}}}"]) == 3
    assert opened.session_ids[0] not in text


def scrape(served: Served) -> str:
    with urllib.request.urlopen(f"http://{served.server.metrics_address}/metrics") as answer:
        return str(answer.read().decode())
