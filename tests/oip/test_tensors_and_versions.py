"""Element types of inputs, and the versions that sequences stay on."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from oip_requests import refused, request, stub_of, tensor
from served import Serve
from toys import SPECS, Toy, assert_near, random_input, toy

from elman import wire
from elman_models import write_bundle
from elman_server.door.oip.stubs import grpc_service_pb2 as pb

RNG = np.random.default_rng(0)


async def test_bfloat16_inputs_travel_raw(serve: Serve) -> None:
    served, x = await serve("gru"), random_input(SPECS["gru"], RNG, 4)
    bits = wire.narrow_bf16(x)
    asked = request("gru", x)
    asked.inputs[0].datatype = "BF16"
    asked.raw_input_contents[0] = bits.tobytes()
    answer = await stub_of(served).ModelInfer(asked)
    assert_near(tensor(answer)[:, 0], toy("gru").run(wire.widen_bf16(bits))[0])


async def test_token_ids_travel_raw_or_typed(serve: Serve) -> None:
    served, x = await serve("tokens"), RNG.integers(11, size=(5, 1))
    typed = request("tokens", x)
    del typed.raw_input_contents[:]
    typed.inputs[0].contents.int64_contents.extend(x.ravel().tolist())
    for asked in (request("tokens", x), typed):
        answer = await stub_of(served).ModelInfer(asked)
        assert_near(tensor(answer)[:, 0], toy("tokens").run(x[:, 0])[0])
        assert [output.HasField("contents") for output in answer.outputs] == [False]


async def test_all_outputs_come_back_where_none_is_named(serve: Serve) -> None:
    served, x = await serve("lstm"), random_input(SPECS["lstm"], RNG, 4)
    answer = await stub_of(served).ModelInfer(request("lstm", x, id="mine", outputs=()))
    assert [output.name for output in answer.outputs] == ["output", "h_n", "c_n"]
    assert (answer.id, answer.model_name, answer.model_version) == ("mine", "lstm", "1")
    for name, want in zip(("output", "h_n", "c_n"), toy("lstm").run(x), strict=True):
        assert_near(tensor(answer, name)[:, 0], want)


async def test_a_sequence_stays_on_the_version_that_it_began_on(serve: Serve, folder: Path, tmp_path: Path) -> None:
    models = tmp_path / "versions"
    shutil.copytree(folder / "gru", models / "gru-1")
    served, x = await serve(models=models), random_input(SPECS["gru"], RNG, 6)
    stub = stub_of(served)
    await stub.ModelInfer(request("gru", x[:3], sequence_id=1, sequence_start=True))
    newer = Toy(SPECS["gru"].model_copy(update={"version": "2"}))
    newer.load_state_dict({name: torch.roll(w, 1, 0) for name, w in newer.state_dict().items()})
    write_bundle(models / "gru-2", newer.spec, newer.state_dict())
    assert {m.version: m.state for m in await _index(stub)} == {"1": "READY", "2": "UNAVAILABLE"}
    await stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="gru"))
    goes_on = await stub.ModelInfer(request("gru", x[3:], sequence_id=1))
    assert goes_on.model_version == "1"
    assert_near(tensor(goes_on)[:, 0], toy("gru").run(x)[0][3:])
    anew = await stub.ModelInfer(request("gru", x, sequence_id=2, sequence_start=True))
    assert anew.model_version == "2"
    assert_near(tensor(anew)[:, 0], newer.run(x)[0])
    other = request("gru", x, sequence_id=1)
    other.model_version = "2"
    assert "runs on version '1'" in (await refused(stub.ModelInfer(other)))[1]
    await stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="gru"))
    assert (await refused(stub.ModelInfer(request("gru", x))))[0] == "NOT_FOUND"


async def _index(stub: Any) -> list[Any]:
    return list((await stub.RepositoryIndex(pb.RepositoryIndexRequest())).models)
