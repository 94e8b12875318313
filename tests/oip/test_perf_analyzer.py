"""NVIDIA's perf_analyzer, unmodified, against sessions over streams."""

import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from perf_analyzer import PerfAnalyzer
from server_process import server_process

from elman.v1 import sessions_pb2, sessions_pb2_grpc


@pytest.mark.parametrize(("model", "shape", "data"), [("lstm", "1,1,3", "random"), ("tokens", "4,1", "zero")])
def test_it_measures_sequences_over_streams(
    perf_analyzer: PerfAnalyzer, address: str, model: str, shape: str, data: str
) -> None:
    said = perf_analyzer.run(
        *("-m", model, "-u", address, "-i", "grpc", "--service-kind", "triton", "--streaming"),
        *("--shape", f"input:{shape}", "--input-data", data, "--concurrency-range", "4", "--request-count", "60"),
        *("--sequence-length", "5"),
    )
    counted = {name: int(number) for name, number in re.findall(r"(Request|Sequence) count: (\d+)", said)}
    assert counted["Request"] >= 60
    assert counted["Sequence"] >= 5


def test_every_sequence_that_it_begins_is_a_session_that_ends(perf_analyzer: PerfAnalyzer, folder: Path) -> None:
    with server_process(folder, "--warm-up-seconds", "0") as address, grpc.insecure_channel(address) as channel:
        perf_analyzer.run(
            *("-m", "gru", "-u", address, "-i", "grpc", "--service-kind", "triton", "--streaming"),
            *("--shape", "input:2,1,3", "--concurrency-range", "4", "--request-count", "60", "--sequence-length", "5"),
        )
        sessions: Any = sessions_pb2_grpc.SessionsStub(channel)
        assert not sessions.ListSessions(sessions_pb2.ListSessionsRequest(model="gru")).sessions
