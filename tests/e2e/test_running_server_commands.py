"""`elman-server models`, `sessions` and `health` against a running server."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_networks import Forecaster
from graph_server import write_networks
from served import Serve, Served

from elman_server.cli.main import main


class Said:
    """What a command said, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.lines, self.err = code, out.splitlines(), err

    @property
    def objects(self) -> list[Any]:
        return [json.loads(line) for line in self.lines]


class CommandLine:
    """`elman-server` with a target."""

    def __init__(self, served: Served, capsys: pytest.CaptureFixture[str]) -> None:
        self._target, self._capsys = served.server.address, capsys

    async def do(self, *arguments: str) -> Said:
        code = await asyncio.to_thread(main, [*arguments, "--target", self._target])
        return Said(code, *self._capsys.readouterr())


async def opened(serve: Serve, capsys: pytest.CaptureFixture[str], *ids: str) -> CommandLine:
    """A server of lstm and gru where lstm has sessions of 3 steps."""
    served = await serve("lstm", "gru")
    if ids:
        handles = (await served.open("lstm", *ids)).handles
        stepper = await served.step()
        await stepper.finish(await stepper.send(handles, [np.zeros((3, 3), np.float32)] * len(ids)))
    return CommandLine(served, capsys)


async def test_models_are_listed_unloaded_and_loaded(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    line = await opened(serve, capsys)
    listed = await line.do("models", "list")
    assert (listed.code, [text.split()[0] for text in listed.lines]) == (0, ["NAME", "gru", "lstm"])
    (gru, lstm) = (await line.do("models", "list", "--json")).objects
    assert (gru["name"], lstm["name"], lstm["hidden_size"], lstm["input_dtype"]) == ("gru", "lstm", 5, "float32")
    assert (await line.do("models", "unload", "gru")).lines == ["unloaded gru 1"]
    assert [model["name"] for model in (await line.do("models", "list", "--json")).objects] == ["lstm"]
    assert (await line.do("models", "load", "gru", "--version", "1")).lines == ["loaded gru 1"]


async def test_a_graph_is_listed_with_its_tensors(
    serve: Serve, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_networks(tmp_path, [Forecaster])
    line = CommandLine(await serve(models=tmp_path), capsys)
    (_, row) = (await line.do("models", "list")).lines
    assert row.split()[:7] == ["Forecaster", "1", "graph", "0", "0", "x[2],weekday[]", "mu[2],sigma[2]"]
    (told,) = (await line.do("models", "list", "--json")).objects
    assert [(one["name"], one["dtype"], one["num_embeddings"]) for one in told["inputs"]] == [
        ("x", "float32", 0),
        ("weekday", "int64", 7),
    ]
    assert (told["input_dtype"], told["output_dtype"]) == (None, None)
    assert [one["name"] for one in told["states"]] == ["rnn.h", "rnn.c"]


async def test_sessions_are_listed_described_and_ended(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    line = await opened(serve, capsys, "user-42", "other", "a\u202eb")
    listed = await line.do("sessions", "list", "lstm")
    assert listed.lines[0].split()[:3] == ["SESSION", "VERSION", "POSITION"]
    assert [text.split()[:4] for text in listed.lines[1:]] == [
        [session_id, "1", "3", "0"] for session_id in ("user-42", "other", "a\\u202eb")
    ]
    (described,) = (await line.do("sessions", "describe", "lstm", "user-42", "--json")).objects
    assert (described["session_id"], described["position"], described["admitted"]) == ("user-42", 3, 3)
    assert described["expire_time"] > described["use_time"] >= described["create_time"]
    text = await line.do("sessions", "describe", "lstm", "user-42")
    assert "position    3" in text.lines
    ended = await line.do("sessions", "end", "lstm", "user-42", "nobody")
    assert (ended.code, ended.lines) == (1, ["user-42 ended at position 3"])
    assert ended.err == "elman-server: model 'lstm' has no session 'nobody'\n"
    rest = await line.do("sessions", "end", "lstm", "--all", "--json")
    assert rest.objects == [{"session_id": "other", "position": 3}, {"session_id": "a\u202eb", "position": 3}]
    assert (await line.do("sessions", "list", "lstm", "--json")).lines == []


async def test_sessions_are_listed_past_the_first_page_under_one_header(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    served = await serve("lstm", max_sessions=3000)
    await served.open("lstm", count=2500)
    line = CommandLine(served, capsys)
    lines = (await line.do("sessions", "list", "lstm")).lines
    assert len(lines) == 2501
    assert sum(text.startswith("SESSION ") for text in lines) == 1
    assert len((await line.do("sessions", "end", "lstm", "--all")).lines) == 2500


async def test_health_of_the_server_of_a_model_and_of_what_is_not_there(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    line = await opened(serve, capsys)
    assert (await line.do("health")).lines == ["SERVING"]
    assert (await line.do("health", "--model", "lstm")).lines == ["SERVING"]
    unknown = await line.do("health", "--model", "nosuch")
    assert (unknown.code, unknown.lines) == (1, [])
    assert unknown.err.endswith(": unknown model 'nosuch'; loaded: gru, lstm\n")
    await line.do("models", "unload", "gru")
    gone = await line.do("health", "--model", "gru")
    assert (gone.code, gone.lines) == (1, ["NOT_SERVING"])
    asked_by_tls = await line.do("health", "--tls-server-ca", "default")
    assert asked_by_tls.code == 1
    assert asked_by_tls.err.endswith("(WRONG_VERSION_NUMBER); it does not speak TLS, and tls_server_ca is given\n")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("models", "load", "nosuch"), 1, "no bundle of model 'nosuch'"),
        (("models", "unload", "nosuch"), 1, "unknown model 'nosuch'"),
        (("sessions", "list", "nosuch"), 1, "unknown model 'nosuch'"),
        (("sessions", "describe", "lstm", "nosuch"), 1, "no session 'nosuch'"),
        (("sessions", "end", "lstm"), 2, "expected the ids"),
        (("sessions", "end", "lstm", "a", "--all"), 2, "expected the ids"),
        (("sessions", "end", "lstm", "a\n"), 1, "control characters"),
        (("sessions", "list", "lstm", "--timeout-seconds", "0"), 2, "timeout_seconds: expected a number of seconds"),
    ],
)
async def test_what_is_refused_is_one_line_and_an_exit_code(
    serve: Serve, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, says: str
) -> None:
    said = await (await opened(serve, capsys)).do(*arguments)
    assert (said.code, said.lines) == (code, [])
    assert says in said.err
    assert said.err.startswith("elman-server: ")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("target", "code", "says"),
    [
        ("127.0.0.1:1", 1, "127.0.0.1:1: no server answers (Connection refused)"),
        ("unix:/nowhere/elman.sock", 1, "no server answers (No such file or directory)"),
        ("a:b", 2, "target: expected HOST, HOST:PORT or unix:PATH"),
        ("", 2, "target: expected HOST, HOST:PORT or unix:PATH"),
    ],
)
@pytest.mark.parametrize("command", [("models", "list"), ("sessions", "list", "lstm"), ("health",)])
def test_where_no_server_is_that_is_said(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...], target: str, code: int, says: str
) -> None:
    assert main([*command, "--target", target, "--timeout-seconds", "60"]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert says in err


def test_a_server_that_does_not_answer_is_waited_for_only_so_long(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        assert main(["models", "list", "--target", target, "--timeout-seconds", "0.3"]) == 1
    assert capsys.readouterr().err == f"elman-server: {target}: no answer within 0.3 s\n"
