"""A server process while it loads its models: it listens, says that it does not serve yet, and obeys a signal."""

import queue
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from toys import write_toys

from elman.v1 import inference_pb2, inference_pb2_grpc, sessions_pb2, sessions_pb2_grpc
from elman_server.door.oip.stubs import grpc_service_pb2, grpc_service_pb2_grpc

LISTENING = re.compile(r"listening on (\S+), metrics on (\S+)")
GUARD_SECONDS = 1200
"""No line is so long in coming: where nothing is compiled yet and the machine is busy that takes minutes."""
LONG = 100_000
"""Seconds that measuring may take: a test that waits for it fails by its own time limit."""


class Starting:
    """A server process that measures for as long as it is let, and its log."""

    def __init__(self, folder: Path) -> None:
        options = {"models": folder, "listen": "127.0.0.1:0", "metrics-listen": "127.0.0.1:0", "cache": "none"}
        options |= {"device": "cpu", "threads": 1, "warm-up-seconds": LONG}
        flags = [f"--{name}={value}" for name, value in options.items()]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "elman_server", "serve", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self.log = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, text: str) -> str:
        """The log's next line with that text."""
        while text not in (line := self._lines.get(timeout=GUARD_SECONDS)):
            self.log += line
        self.log += line
        return line

    def stop(self, number: int) -> tuple[int, str]:
        """Exit code, and what it printed."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join()
        assert self.process.stdout
        return code, self.process.stdout.read()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe
            pipe.close()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._lines.put(line)


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Starting]:
    """Of two models, the first of which is being measured."""
    server = Starting(write_toys(tmp_path / "mine", ["gru", "lstm"]))
    yield server
    server.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_plans_are_measured_stops_the_server_with_code_0_before_it_serves(
    starting: Starting, number: int
) -> None:
    starting.wait_for("measuring plans of model gru (1 of 2)")
    assert starting.stop(number) == (0, "")


def test_while_models_load_health_and_metrics_answer_and_other_calls_are_told_to_come_again(starting: Starting) -> None:
    found = LISTENING.search(starting.wait_for("listening on"))
    assert found
    address, metrics = found.groups()
    starting.wait_for("measuring plans")
    with grpc.insecure_channel(address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for name in ("", "gru", "lstm", "elman.v1.Inference"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=30)
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=30) as scraped:
            assert b"elman_requests_total" in scraped.read()
        sessions: Any = sessions_pb2_grpc.SessionsStub(channel)
        inference: Any = inference_pb2_grpc.InferenceStub(channel)
        oip: Any = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        calls = [
            lambda: sessions.OpenSessions(sessions_pb2.OpenSessionsRequest(model="gru", count=1), timeout=30),
            lambda: sessions.ListSessions(sessions_pb2.ListSessionsRequest(model="gru"), timeout=30),
            lambda: next(inference.Step(iter([inference_pb2.StepRequest()]), timeout=30)),
        ]
        for call in calls:
            assert reason_and_retry(call) == ("LOADING", True)
        assert oip.ServerLive(grpc_service_pb2.ServerLiveRequest(), timeout=30).live
        assert not oip.ServerReady(grpc_service_pb2.ServerReadyRequest(), timeout=30).ready
        assert not oip.ModelReady(grpc_service_pb2.ModelReadyRequest(name="gru"), timeout=30).ready
        with pytest.raises(grpc.RpcError) as caught:
            oip.ModelInfer(grpc_service_pb2.ModelInferRequest(model_name="gru"), timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]
    assert starting.stop(signal.SIGTERM) == (0, "")


def reason_and_retry(call: Any) -> tuple[str, bool]:
    """Of a refusal as UNAVAILABLE: its reason, and whether it says when to come again."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info)
    return info.reason, len(status.details) > 1 and status.details[1].Unpack(retry)
