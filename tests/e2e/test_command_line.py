"""`elman-server` as a process: starts, refuses to start, stops."""

import json
import pickle
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from frames_on_wire import make_frame
from google.rpc import status_pb2
from refusals import Refusal
from running import QUICK, Running, command
from toys import SPECS, random_input, toy, write_toys

from elman import wire
from elman.v1 import inference_pb2, inference_pb2_grpc, sessions_pb2, sessions_pb2_grpc
from elman_server.cli.main import main

BROKEN = """
import sys
from elman_server.engine.engine import Engine
def commit(*_): raise IndexError("index is out of bounds")
Engine._commit = commit
if {hangs}:
    from elman_server.cli import run_server as serve
    serve.MAX_FAILED_SECONDS = 0.5
    serve.Server.stop = lambda self: serve.asyncio.sleep(3600)
from elman_server.cli.main import main
sys.exit(main())
"""


@pytest.fixture
def running(folder: Path) -> Iterator[Running]:
    """A server process of all toys."""
    server = Running(folder, "--drain-seconds", "600")  # on a busy machine much is still to be answered
    yield server
    server.close()


@pytest.mark.parametrize("hangs", [False, True], ids=["", "a stop that hangs"])
def test_a_bug_in_the_engine_is_answered_and_ends_the_process_with_code_70(
    folder: Path, tmp_path: Path, hangs: bool
) -> None:
    with (tmp_path / "log").open("w") as log:
        server = Running(folder, script=BROKEN.format(hangs=hangs), stderr=log)
    try:
        with grpc.insecure_channel(server.address) as channel:
            sessions: Any = sessions_pb2_grpc.SessionsStub(channel)
            inference: Any = inference_pb2_grpc.InferenceStub(channel)
            opened = sessions.OpenSessions(sessions_pb2.OpenSessionsRequest(model="lstm", count=2))
            data = [random_input(SPECS["lstm"], np.random.default_rng(1), 3)] * 2
            results = inference.Step(iter([make_frame(1, opened.handles, data)]), timeout=60)
            next(results)
            if not hangs:  # else the process may be over before they are told
                assert [error.row for error in next(results).errors] == [0, 1]
                results.cancel()
            assert server.process.wait(60) == 70
    finally:
        server.close()
    assert (tmp_path / "log").read_text().count("Traceback") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_with_its_work_answered_and_code_0(running: Running, number: int) -> None:
    rng = np.random.default_rng(1)
    assert "lstm 1" in running.models
    with grpc.insecure_channel(running.address) as channel:
        sessions: Any = sessions_pb2_grpc.SessionsStub(channel)
        inference: Any = inference_pb2_grpc.InferenceStub(channel)
        opened = sessions.OpenSessions(sessions_pb2.OpenSessionsRequest(model="lstm", count=8))
        data = [random_input(SPECS["lstm"], rng, 3000)] * 8
        results = inference.Step(iter([make_frame(1, opened.handles, data)]))
        next(results)
        next(results)  # it has begun
        running.process.send_signal(number)
        finished = [row for result in results for row in result.finished]
    assert sorted(finished) == list(range(8))
    assert running.process.wait(120) == 0


def test_a_signal_ends_what_generates_between_two_steps_by_name_and_lets_steps_end(running: Running) -> None:
    with grpc.insecure_channel(running.address) as channel:
        sessions: Any = sessions_pb2_grpc.SessionsStub(channel)
        inference: Any = inference_pb2_grpc.InferenceStub(channel)
        opened = sessions.OpenSessions(sessions_pb2.OpenSessionsRequest(model="lstm", count=1))
        neighbour = inference.Step(
            iter([make_frame(1, opened.handles, [random_input(SPECS["lstm"], np.random.default_rng(1), 3000)])])
        )
        next(neighbour)
        sessions.OpenSessions(sessions_pb2.OpenSessionsRequest(model="tokens", session_ids=["s", "t"]))
        request = inference_pb2.GenerateRequest(model="tokens", max_steps=60000)
        request.sampling.temperature = 0
        wire.fill_tensor(request.input, np.array([3, 1]))
        calls = []
        for request.session_id, request.beams in (("s", 0), ("", 0), ("t", 3), ("", 3)):
            calls.append(inference.Generate(request))
        first = [next(call) for call in calls]
        next(neighbour)  # it has begun
        running.process.send_signal(signal.SIGTERM)
        for response, call in zip(first, calls, strict=True):
            assert_drained(response, call)
        assert [row for result in neighbour for row in result.finished] == [0]
    assert running.process.wait(120) == 0


def assert_drained(response: Any, call: Any) -> None:
    """What is read of a generation from its first message to its end: whole steps, and why no more come."""
    tokens: list[int] = []
    with pytest.raises(grpc.RpcError) as caught:  # noqa: PT012 - it is raised as it is read
        while True:
            if response.HasField("steps"):
                tokens += wire.from_tensor(response.steps, name="steps").tolist()
                assert response.position == 2 + len(tokens)
            response = next(call)
    status = status_pb2.Status.FromString(dict(caught.value.trailing_metadata())["grpc-status-details-bin"])  # type: ignore[attr-defined]
    refusal = Refusal.of(status)
    assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "DRAINING")
    sequence = np.array([3, 1, *tokens])
    expected = toy("tokens").run(sequence)[0][1:].argmax(1)  # the likeliest after each
    assert tokens == expected[: len(tokens)].tolist()


def test_an_idle_open_stream_does_not_hold_up_a_stop(running: Running) -> None:
    with grpc.insecure_channel(running.address) as channel:
        stub: Any = inference_pb2_grpc.InferenceStub(channel)
        waits = iter(lambda: running.process.wait(120), None)
        results = stub.Step(waits)
        next(results)
        running.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as caught:
            next(results)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]
    assert running.process.wait(120) == 0


@pytest.mark.parametrize("option", ["listen", "metrics-listen"])
def test_a_port_in_use_stops_the_start_with_a_message(folder: Path, option: str) -> None:
    other = {"listen": "metrics-listen", "metrics-listen": "listen"}[option]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            command("serve", "--models", folder, f"--{option}", address, f"--{other}", "127.0.0.1:0"),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert f"cannot listen on {address}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_truncated_bundle_stops_the_start_with_a_message(tmp_path: Path) -> None:
    write_toys(tmp_path, ["gru", "lstm"])
    weights = tmp_path / "gru" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    start = command("serve", "--models", tmp_path, "--listen", "127.0.0.1:0", *QUICK)
    done = subprocess.run(start, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "weights.safetensors" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_setting_stops_the_start_with_code_2(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert main(["serve", "--models", str(folder), "--max-rows", "0"]) == 2
    assert "max_rows" in capsys.readouterr().err


class Evil:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_packing_a_pickle_with_code_in_it_runs_none_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark, weights = tmp_path / "ran", tmp_path / "weights.pt"
    weights.write_bytes(pickle.dumps({"rnn.weight_ih_l0": Evil(mark)}))
    assert main(["pack", str(weights), "--out", str(tmp_path / "out")]) == 1
    assert not mark.exists()
    assert not (tmp_path / "out").exists()
    assert "weights.pt" in capsys.readouterr().err


def test_in_json_every_line_of_a_server_is_json(folder: Path) -> None:
    process = subprocess.Popen(
        command("serve", "--models", folder, "--listen", "127.0.0.1:0", *QUICK, "--log-format", "json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "serving" in json.loads(line)["message"]:
            process.send_signal(signal.SIGTERM)
    out, rest = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert all(json.loads(line)["level"] == "info" for line in [*lines, *rest.splitlines()])


def test_a_start_that_fails_in_json_says_so_in_json(tmp_path: Path) -> None:
    start = command("serve", "--models", tmp_path / "nowhere", "--listen", "127.0.0.1:0", *QUICK, "--log-format=json")
    done = subprocess.run(start, capture_output=True, text=True, check=False)
    record = json.loads(done.stderr.splitlines()[-1])
    assert (done.returncode, done.stdout, record["level"]) == (1, "", "error")
    assert "nowhere" in record["message"]


def test_metrics_that_are_nowhere_are_not_served(folder: Path) -> None:
    line = Running(folder, "--metrics-listen", "none")
    try:
        assert line.metrics == ""
        assert line.stop(signal.SIGTERM) == 0
    finally:
        line.close()
