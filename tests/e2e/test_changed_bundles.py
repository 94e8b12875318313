"""Bundles that change under a running server, folders that bear one model, sessions that end with their model."""

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from engine_gate import EngineGate
from refusals import refusal_of
from served import Serve, Served
from toys import SPECS, random_input, toy, write_toys

from elman.v1 import models_pb2 as pb
from elman.v1 import sessions_pb2
from elman_models import write_bundle
from elman_server.door.oip.stubs import grpc_service_pb2, grpc_service_pb2_grpc

RNG = np.random.default_rng(3)
LOAD, UNLOAD = pb.LoadModelRequest(model="gru"), pb.UnloadModelRequest(model="gru")


def write_other_weights(folder: Path, version: str = "1") -> None:
    spec = SPECS["gru"].model_copy(update={"version": version})
    weights = {name: tensor * 0.5 for name, tensor in toy("gru").state_dict().items()}
    write_bundle(folder, spec, weights, overwrite=True)


async def load_by_open_inference(served: Served) -> None:
    stub: Any = grpc_service_pb2_grpc.GRPCInferenceServiceStub(served.channel)
    await stub.RepositoryModelLoad(grpc_service_pb2.RepositoryModelLoadRequest(model_name="gru"))


async def test_a_load_of_what_is_loaded_from_the_same_files_is_a_success(serve: Serve, tmp_path: Path) -> None:
    served = await serve(models=write_toys(tmp_path / "mine", ["gru"]))
    runtime = served.runtime("gru")
    assert [m.name for m in (await served.models.LoadModel(LOAD)).models] == ["gru"]
    await load_by_open_inference(served)
    assert served.runtime("gru") is runtime


async def test_a_load_of_a_loaded_version_whose_files_changed_is_refused_until_it_is_unloaded(
    serve: Serve, tmp_path: Path
) -> None:
    folder = write_toys(tmp_path / "mine", ["gru"])
    served = await serve(models=folder)
    write_other_weights(folder / "gru")
    refusal = await refusal_of(served.models.LoadModel(LOAD))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "MODEL_CHANGED")
    assert "unload it first" in refusal.message
    with pytest.raises(grpc.aio.AioRpcError, match="unload it first") as caught:
        await load_by_open_inference(served)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    before = served.runtime("gru").stack.fingerprint
    await served.models.UnloadModel(UNLOAD)
    await served.models.LoadModel(LOAD)
    assert served.runtime("gru").stack.fingerprint != before


async def test_changed_weights_under_a_version_of_their_own_are_loaded_beside(serve: Serve, tmp_path: Path) -> None:
    folder = write_toys(tmp_path / "mine", ["gru"])
    served = await serve(models=folder)
    write_other_weights(folder / "gru2", version="2")
    assert sorted(m.version for m in (await served.models.LoadModel(LOAD)).models) == ["1", "2"]


async def test_a_load_of_a_model_that_two_folders_bear_is_refused_and_both_are_named(
    serve: Serve, tmp_path: Path
) -> None:
    folder = write_toys(tmp_path / "mine", ["gru", "lstm"])
    served = await serve(models=folder)
    write_other_weights(folder / "copy")
    refusal = await refusal_of(served.models.LoadModel(LOAD))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "BROKEN_BUNDLE")
    assert str(folder / "copy") in refusal.message
    assert str(folder / "gru") in refusal.message
    await served.models.LoadModel(pb.LoadModelRequest(model="lstm"))  # which is not meant


async def test_a_start_with_a_model_that_two_folders_bear_is_refused(serve: Serve, tmp_path: Path) -> None:
    folder = write_toys(tmp_path / "mine", ["gru"])
    write_other_weights(folder / "copy")
    with pytest.raises(Exception, match=r"copy and .*gru are both model 'gru' version '1'"):
        await serve(models=folder)


RESUMED = [sessions_pb2.OPEN_MODE_RESUME, sessions_pb2.OPEN_MODE_RESUME_OR_NEW]


async def test_sessions_that_ended_with_their_model_are_told_so_after_it_is_loaded_again(serve: Serve) -> None:
    served = await serve("gru", "lstm")
    opened, stepper = await served.open("gru", "a"), await served.step()
    data = [random_input(SPECS["gru"], RNG, 5)]
    await stepper.ask(opened.handles, data)
    await served.models.UnloadModel(UNLOAD)
    stale = (await stepper.ask(opened.handles, data)).rows[0].error
    assert stale
    assert stale.reason == "SESSION_EXPIRED"
    await served.models.LoadModel(LOAD)
    for mode in RESUMED:
        request = sessions_pb2.OpenSessionsRequest(model="gru", session_ids=["a", "b"], mode=mode)
        error = (await served.sessions.OpenSessions(request)).errors[0]
        assert error.index == 0
        assert "model was unloaded" in error.status.message
        assert "at position 5" in error.status.message
    still = (await stepper.ask(opened.handles, data)).rows[0].error
    assert still
    assert still.reason == "SESSION_EXPIRED"
    assert list((await served.open("gru", "a")).positions) == [0]


@pytest.mark.parametrize("mode", [sessions_pb2.OPEN_MODE_NEW, *RESUMED])
async def test_a_model_that_is_being_unloaded_takes_and_resumes_no_sessions(serve: Serve, mode: Any) -> None:
    served = await serve("gru", "lstm")
    opened, stepper = await served.open("gru", "a"), await served.step()
    async with EngineGate(served) as engine_gate:
        ask = await stepper.send(opened.handles, [random_input(SPECS["gru"], RNG, 20)])
        await engine_gate.arrived(1)
        unloading = asyncio.ensure_future(served.models.UnloadModel(UNLOAD))
        await engine_gate.arrived(2)
        request = sessions_pb2.OpenSessionsRequest(model="gru", session_ids=["a", "late"], mode=mode)
        opening = asyncio.ensure_future(served.sessions.OpenSessions(request))
        await engine_gate.arrived(3)
    await stepper.finish(ask)
    refusal = await refusal_of(opening)
    assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "DRAINING")
    await unloading


async def test_a_load_under_way_is_ended_by_a_stop_and_its_caller_told(serve: Serve, tmp_path: Path) -> None:
    folder = write_toys(tmp_path / "mine", ["lstm"])
    served = await serve(models=folder)
    write_toys(folder, ["gru"])
    begun, go_on, loop = asyncio.Event(), threading.Event(), asyncio.get_running_loop()

    def prepare(_: Path) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait()
        raise ValueError("too late")

    served.server.models._prepare = prepare  # type: ignore[assignment]
    loading = asyncio.ensure_future(served.models.LoadModel(LOAD))
    await begun.wait()
    await asyncio.wait_for(served.server.stop(), 60)
    refusal = await refusal_of(loading)
    go_on.set()
    assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "DRAINING")


async def test_the_log_tells_what_was_loaded_unloaded_and_failed_and_why(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "elman_server")
    folder = write_toys(tmp_path / "mine", ["gru", "lstm"])
    served = await serve(models=folder)
    assert f"loading 2 models from {folder}" in caplog.messages
    assert any(m.startswith(f"loaded model gru version 1 from {folder / 'gru'} in ") for m in caplog.messages)
    await served.models.UnloadModel(UNLOAD)
    assert "unloading model gru version 1" in caplog.messages
    assert any(m.startswith("unloaded model gru version 1 in ") for m in caplog.messages)
    (folder / "gru" / "weights.safetensors").unlink()
    await refusal_of(served.models.LoadModel(LOAD))
    (failed,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert "failed" in failed
    assert "weights.safetensors" in failed


async def test_a_folder_without_models_is_served_with_a_warning(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    served = await serve(models=folder)
    assert await served.health_of("") == "SERVING"
    assert f"no models in {folder}" in caplog.text
