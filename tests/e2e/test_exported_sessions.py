"""Sessions as bytes: exported, imported into the same server and another one, refused where they are not its own."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import safetensors.numpy
from graph_cases import random_context, random_inputs
from graph_networks import Forecaster
from graph_server import write_networks
from lost_answers import losing_answers
from refusals import Refusal, refusal_of
from served import Served, serving
from test_changed_bundles import write_other_weights
from toys import assert_near, random_input, toy, write_toys

import elman
from elman import wire
from elman.testing import FakeModel, FakeServer
from elman.v1 import inference_pb2, sessions_pb2
from elman_server.cli.main import main

pytestmark = pytest.mark.asyncio(loop_scope="module")
RNG = np.random.default_rng(6)
NAMES = ("lstm", "gru", "tokens")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_toys(tmp_path_factory.mktemp("exported"), NAMES)
    write_networks(folder, [Forecaster])
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(folder: Path) -> AsyncIterator[Served]:
    async with serving(folder, max_slice=3, max_sessions=8) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(served: Served) -> AsyncIterator[elman.AsyncClient]:
    async with elman.AsyncClient(served.server.address) as client:
        yield client


async def exported(client: elman.AsyncClient, name: str, x: Any) -> bytes:
    """A session that took `x`, as bytes."""
    async with (await client.model(name)).session() as session:
        await session.step(x)
        return await session.export()


@pytest.mark.parametrize("name", NAMES)
async def test_an_imported_session_goes_on_from_the_state_and_the_position_of_the_exported_one(
    client: elman.AsyncClient, name: str
) -> None:
    x, y = random_input(toy(name).spec, RNG, 7), random_input(toy(name).spec, RNG, 4)
    model = await client.model(name)
    async with model.session() as session:
        await session.step(x)
        data = await session.export()
        first = await session.step(y)  # it goes on
    assert_near(first, toy(name).run(np.concatenate([x, y]))[0][7:])
    async with model.import_session(data) as moved, model.import_session(data, id="named") as named:
        assert (moved.position, named.id) == (7, "named")
        assert_near(await moved.step(y), first)
        assert moved.position == 11
        assert_near(await named.step(y), first)
        await named.end()


async def test_another_server_with_the_same_model_takes_it_whatever_else_it_has(
    client: elman.AsyncClient, folder: Path, tmp_path: Path
) -> None:
    x, y = random_input(toy("gru").spec, RNG, 3), random_input(toy("gru").spec, RNG, 4)
    data = await exported(client, "gru", x)
    write_toys(tmp_path, ["gru"])
    write_other_weights(tmp_path / "newer", version="2")
    async with (
        serving(tmp_path) as other,
        elman.AsyncClient(other.server.address) as there,
        (await there.model("gru")).import_session(data) as moved,
    ):
        assert moved.model_info.version == "1"
        assert_near(await moved.step(y), toy("gru").run(np.concatenate([x, y]))[0][3:])


async def test_a_graphs_states_and_context_go_along(client: elman.AsyncClient, served: Served) -> None:
    spec = served.runtime("Forecaster").spec
    given = {name: tensor.numpy() for name, tensor in random_inputs(spec, 6).items()}
    context = {name: tensor.numpy() for name, tensor in random_context(spec).items()}
    begun, rest = ({name: array[part] for name, array in given.items()} for part in (slice(2), slice(2, None)))
    model = await client.model("Forecaster")
    async with model.session(context=context) as session:
        await session.step(begun)
        async with model.import_session(await session.export()) as moved:
            told, expected = await moved.step(rest), await session.step(rest)
    assert told.keys() == expected.keys()
    for name, array in expected.items():
        assert_near(told[name], array)


async def test_the_format_is_the_one_that_the_contract_describes(client: elman.AsyncClient, served: Served) -> None:
    x = random_input(toy("lstm").spec, RNG, 3)
    message = sessions_pb2.ExportedSession.FromString(await exported(client, "lstm", x))
    assert (message.format, message.model, message.version, message.position) == (1, "lstm", "1", 3)
    assert message.fingerprint == served.runtime("lstm").stack.fingerprint
    assert message.sha256 == hashlib.sha256(message.tensors).digest()
    tensors = safetensors.numpy.load(message.tensors)
    _, h, c = toy("lstm").run(x)
    assert c is not None
    assert tensors.keys() == {"state.h", "state.c"}
    assert_near(tensors["state.h"], h[:, None])
    assert_near(tensors["state.c"], c[:, None])


@pytest.mark.parametrize("name", ["named", None])
async def test_an_import_whose_answer_is_lost_makes_one_session_and_gives_it(
    client: elman.AsyncClient, served: Served, name: str | None
) -> None:
    x, y = random_input(toy("gru").spec, RNG, 3), random_input(toy("gru").spec, RNG, 4)
    data, model = await exported(client, "gru", x), await client.model("gru")
    with losing_answers(sessions_pb2.ImportSessionRequest, 2) as lost:
        moved = await model.import_session(data, id=name)
    assert [answer.session_ids[0] for answer in lost] == [moved.id] * 2
    assert await served.on_engine(lambda: served.runtime("gru").sessions.num_open) == 1
    assert_near(await moved.step(y), toy("gru").run(np.concatenate([x, y]))[0][3:])
    with pytest.raises(elman.SessionExistsError):  # another request, of the same bytes
        await model.import_session(data, id=moved.id)
    await moved.end()


async def test_a_request_is_known_by_its_name_for_as_long_as_its_session_lives(
    client: elman.AsyncClient, served: Served
) -> None:
    data = await exported(client, "gru", random_input(toy("gru").spec, RNG, 3))
    request = sessions_pb2.ImportSessionRequest(model="gru", session_id="a", exported=data, request_id="once")
    for _ in range(2):
        assert (await served.sessions.ImportSession(request)).positions == [3]
    other = sessions_pb2.ImportSessionRequest(model="gru", session_id="b", exported=data, request_id="once")
    assert "that request made session 'a'" in (await refusal_of(served.sessions.ImportSession(other))).message
    await served.sessions.CloseSessions(sessions_pb2.CloseSessionsRequest(model="gru", session_ids=["a"]))
    assert (await served.sessions.ImportSession(other)).session_ids == ["b"]
    await served.sessions.CloseSessions(sessions_pb2.CloseSessionsRequest(model="gru", session_ids=["b"]))
    other.request_id = "x" * 129
    assert "at most 128 characters, got 129" in (await refusal_of(served.sessions.ImportSession(other))).message


async def test_a_requests_name_is_refused_for_other_sessions_than_those_that_it_made(served: Served) -> None:
    def fork(*ids: str, count: int = 0) -> sessions_pb2.ForkSessionRequest:
        return sessions_pb2.ForkSessionRequest(
            model="gru", session_id="parent", session_ids=ids, count=count, request_id="forked"
        )

    def keep(name: str) -> inference_pb2.InferRequest:
        values = wire.to_tensor(random_input(toy("gru").spec, RNG, 2))
        return inference_pb2.InferRequest(
            model="gru", lengths=[2], input=values, keep_state_as=[name], request_id="kept"
        )

    await served.open("gru", "parent")
    await served.sessions.ForkSession(fork("a", "b"))
    await served.inference.Infer(keep("c"))
    for call in (
        served.sessions.ForkSession(fork("a", "d")),
        served.sessions.ForkSession(fork(count=3)),
        served.inference.Infer(keep("d")),
    ):
        refusal = await refusal_of(call)
        assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_INPUT")
        assert "request_id: that request made session" in refusal.message
    await served.inference.Infer(keep("c"))
    for ids in (["parent"], ["a", "b", "c"]):
        # Its parent may have ended since, with the stream whose cut lost the answer, say.
        assert list((await served.sessions.ForkSession(fork("a", "b"))).session_ids) == ["a", "b"]
        closed = sessions_pb2.CloseSessionsRequest(model="gru", session_ids=ids)
        assert not (await served.sessions.CloseSessions(closed)).errors
    await served.assert_all_released()


def changed(data: bytes, **fields: Any) -> bytes:
    """An export with some fields changed, and a checksum that agrees."""
    message = sessions_pb2.ExportedSession.FromString(data)
    for name, value in fields.items():
        setattr(message, name, value)
    message.sha256 = hashlib.sha256(message.tensors).digest()
    return message.SerializeToString()


def broken(data: bytes) -> dict[str, tuple[bytes, str, str]]:
    """What nobody can import, the reason and a part of the message."""
    message = sessions_pb2.ExportedSession.FromString(data)
    message.tensors = message.tensors[:-1] + b"\xff"
    nan = safetensors.numpy.save({"state.h": np.full((2, 1, 5), np.nan, np.float32)})
    small = safetensors.numpy.save({"state.h": np.zeros((2, 1, 4), np.float32)})
    other = safetensors.numpy.save({"state.x": np.zeros((2, 1, 5), np.float32)})
    return {
        "no bytes": (b"", "INVALID_INPUT", "expected a serialized ExportedSession with its format"),
        "other bytes": (b"\xff" * 40, "INVALID_INPUT", "are no ExportedSession, or one cut short"),
        "a future version": (
            changed(data, format=2),
            "INVALID_INPUT",
            "format 2 is newer than this server's, which reads",
        ),
        "damaged": (message.SerializeToString(), "INVALID_INPUT", "it was cut short, or damaged"),
        "no tensors": (changed(data, tensors=b"abc"), "INVALID_INPUT", "no safetensors file"),
        "nan": (changed(data, tensors=nan), "INVALID_INPUT", "state 'h': a value is NaN or infinite"),
        "other sizes": (changed(data, tensors=small), "INVALID_INPUT", "state 'h': expected [2, 1, 5], got [2, 1, 4]"),
        "other names": (changed(data, tensors=other), "OTHER_STATE", "the export has the states ['x']"),
        "a far position": (changed(data, position=1 << 62), "INVALID_INPUT", "position: expected less than 2^62"),
        "other weights": (
            changed(data, fingerprint="ab" * 32),
            "OTHER_STATE",
            "version '1' (abababababab); loaded of model",
        ),
    }


async def test_what_is_no_whole_export_of_the_model_is_refused_by_name_and_harms_nobody(
    client: elman.AsyncClient, served: Served
) -> None:
    x, y = random_input(toy("gru").spec, RNG, 3), random_input(toy("gru").spec, RNG, 4)
    model = await client.model("gru")
    async with model.session("neighbour") as session:
        await session.step(x)
        data = await session.export()
        told: dict[str, tuple[Refusal, str, str]] = {}
        for name, (blob, reason, text) in broken(data).items():
            request = sessions_pb2.ImportSessionRequest(model="gru", exported=blob)
            told[name] = (await refusal_of(served.sessions.ImportSession(request)), reason, text)
        assert {n: (r.reason, t in r.message) for n, (r, _, t) in told.items()} == {
            n: (reason, True) for n, (_, reason, _) in told.items()
        }, told
        for size in range(0, len(data), 7):
            with pytest.raises(elman.InvalidInputError, match="exported: "):
                await model.import_session(data[:size])
        lstm = await exported(client, "lstm", random_input(toy("lstm").spec, RNG, 2))
        with pytest.raises(elman.UnsupportedError, match=r"from model 'lstm' version '1' .*; loaded of model 'gru'"):
            await model.import_session(lstm)
        with pytest.raises(elman.SessionExistsError):
            await model.import_session(data, id="neighbour")
        with pytest.raises(elman.InvalidInputError):
            await model.import_session(data, id="\n")
        assert len([one async for one in model.list_sessions()]) == 1
        async with model.sessions(7):
            with pytest.raises(elman.LimitReachedError, match="max_sessions is 8"):
                await asyncio.wait_for(model.import_session(data), 30)
        assert_near(await session.step(y), toy("gru").run(np.concatenate([x, y]))[0][3:])
        await session.end()


async def test_a_session_that_is_not_there_is_not_exported(served: Served) -> None:
    request = sessions_pb2.ExportSessionRequest(model="gru", session_id="no")
    assert (await refusal_of(served.sessions.ExportSession(request))).reason == "UNKNOWN_SESSION"


async def test_the_command_line_moves_sessions_by_a_file(
    client: elman.AsyncClient, served: Served, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = random_input(toy("gru").spec, RNG, 3), random_input(toy("gru").spec, RNG, 4)
    file = tmp_path / "sessions"

    async def do(server: Served, *arguments: str) -> tuple[int, list[str], str]:
        code = await asyncio.to_thread(main, ["sessions", *arguments, "--target", server.server.address])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err

    model = await client.model("gru")
    for name in ("a", "b"):
        async with model.session(name) as session:
            await session.step(x)
    assert (await do(served, "export", "gru", "--out", str(file)))[0] == 2
    code, _, told = await do(served, "export", "lstm", "--all", "--out", str(file))
    assert (code, "model 'lstm' has no sessions" in told, file.exists()) == (1, True, False)
    code, _, told = await do(served, "export", "gru", "a", "no", "--out", str(file))
    assert (code, "no session 'no'" in told, file.exists()) == (1, True, False)
    assert await do(served, "export", "gru", "--all", "--out", str(file)) == (
        0,
        [f"a written to {file}", f"b written to {file}"],
        "",
    )
    assert (await do(served, "export", "gru", "a", "--out", str(file)))[2].endswith("exists; it is not overwritten\n")
    code, _, told = await do(served, "import", "gru", str(file))
    assert (code, told.count("exists, at position 3")) == (1, 2)
    await model.end_sessions(["a", "b"])
    whole = file.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 2):
        file.write_bytes(whole[:cut])
        code, _, told = await do(served, "import", "gru", str(file))
        assert (code, "cut short" in told) == (1, True), cut
    file.write_bytes(whole)
    assert await do(served, "import", "gru", str(file)) == (0, ["a imported", "b imported"], "")
    for name in ("a", "b"):
        async with model.session(name, mode="resume") as session:
            assert session.position == 3
            assert_near(await session.step(y), toy("gru").run(np.concatenate([x, y]))[0][3:])
            await session.end()


async def test_threads_have_the_same_and_the_fake_server_knows_it() -> None:
    def moved() -> None:
        models = [FakeModel("sum", input_size=2), FakeModel("other", input_size=2)]
        with FakeServer(models) as address, elman.Client(address) as client:
            model = client.model("sum")
            with model.session() as session:
                session.step([[1, 2], [3, 4]])
                data = session.export()
                with losing_answers(sessions_pb2.ImportSessionRequest), model.import_session(data, id="kept") as kept:
                    assert kept.position == 2
                    kept.end()
                with model.import_session(data) as twin:
                    assert twin.position == 2
                    assert (twin.step([1, 1]) == session.step([1, 1])).all()
            with pytest.raises(elman.UnsupportedError, match="exported from model 'sum' version '1'"):
                client.model("other").import_session(data)
            for size in range(0, len(data), 11):
                with pytest.raises(elman.InvalidInputError, match="exported: "):
                    model.import_session(data[:size])
            with pytest.raises(elman.InvalidInputError, match="format 7 is newer"):
                model.import_session(changed(data, format=7))

    await asyncio.to_thread(moved)
