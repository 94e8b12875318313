"""What both surfaces, the SDK and the documents say of one thing is the same."""

from pathlib import Path

import numpy as np
import pytest
from oip_requests import refused, request, stub_of
from refusals import refusal_of
from served import Serve, Served
from toys import write_toys

import elman
from elman.v1 import models_pb2, sessions_pb2
from elman_server.door.oip.stubs import grpc_service_pb2 as pb

ROW = np.zeros((1, 3), np.float32)
IDS = ("\u00a0", "a\u202eb", "\u2028", "x" * 128, "\U0001f600" * 128, "\u0378")
"""Ids by the contract: spaces, a change of the writing's direction, what is not assigned."""
NO_IDS = ("x" * 129, "a\n", "\0", "\x7f", "\x85")


@pytest.mark.parametrize("text", IDS)
async def test_what_the_contract_calls_an_id_is_one_on_both_surfaces_and_for_the_sdk(serve: Serve, text: str) -> None:
    served = await serve("gru")
    await stub_of(served).ModelInfer(request("gru", ROW, sequence_id=text, sequence_start=True))
    async with elman.AsyncClient(served.server.address) as client:
        model = await client.model("gru")
        for session_id in (text, f"oip-str:{text}"):
            session = await model.session(id=session_id)
            await session.step(ROW)
    listed = await served.sessions.ListSessions(sessions_pb2.ListSessionsRequest(model="gru"))
    assert {s.session_id: s.position for s in listed.sessions} == {text: 1, f"oip-str:{text}": 2}
    ids = [s.session_id for s in listed.sessions]
    closed = await served.sessions.CloseSessions(sessions_pb2.CloseSessionsRequest(model="gru", session_ids=ids))
    assert not closed.errors


@pytest.mark.parametrize("text", NO_IDS)
async def test_what_the_contract_calls_no_id_is_refused_on_both(serve: Serve, text: str) -> None:
    served = await serve("gru")
    code, message = await refused(
        stub_of(served).ModelInfer(request("gru", ROW, sequence_id=text, sequence_start=True))
    )
    refusal = await refusal_of(
        served.sessions.OpenSessions(sessions_pb2.OpenSessionsRequest(model="gru", session_ids=[text]))
    )
    assert code == refusal.code == "INVALID_ARGUMENT"
    for said in (message, refusal.message):
        assert "expected 1 to 128 characters without control characters" in said


async def index(served: Served) -> dict[str, tuple[str, str]]:
    answer = await stub_of(served).RepositoryIndex(pb.RepositoryIndexRequest())
    return {model.name: (model.state, model.reason) for model in answer.models}


async def test_the_index_says_why_a_model_could_not_be_loaded(serve: Serve, tmp_path: Path) -> None:
    folder = write_toys(tmp_path / "mine", ["lstm"])
    served = await serve(models=folder)
    write_toys(folder, ["gru"])
    assert (await index(served))["gru"] == ("UNAVAILABLE", "unloaded")
    weights = folder / "gru" / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-40])
    refusal = await refusal_of(served.models.LoadModel(models_pb2.LoadModelRequest(model="gru")))
    assert (await index(served))["gru"] == ("UNAVAILABLE", refusal.message)
    weights.write_bytes(whole)
    await served.models.LoadModel(models_pb2.LoadModelRequest(model="gru"))
    assert (await index(served))["gru"] == ("READY", "")
    await served.models.UnloadModel(models_pb2.UnloadModelRequest(model="gru"))
    assert (await index(served))["gru"] == ("UNAVAILABLE", "unloaded")
