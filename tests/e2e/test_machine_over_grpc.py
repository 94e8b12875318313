"""Random lives of sessions, over sockets and whichever plans run, against torch.nn on their whole sequences."""

import logging
import math
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from generated_requests import FRAMES, IDS, REQUESTS, FrameRequest, RowRequest
from held_server import HeldServer
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import rule, run_state_machine_as_test
from session_machine import LIMITS, SLICE, SessionMachine
from toys import FED, Toy, write_toys
from wire_engine import WireEngine

from elman_server.config.server_config import Limits
from elman_server.exchange import slices
from elman_server.exchange.session_calls.calls import OpenMode

SETTINGS = settings(
    max_examples=20,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
MAX_STEPS = 40
"""Ten slices."""
PLAIN = tuple(name for name in SessionMachine.toys if name != "lstm_proj")
"""What onnxruntime can run."""


@dataclass(frozen=True)
class Case:
    """Models, and the plans that are made to run them."""

    plans: str | dict[str, str]
    toys: tuple[str, ...] = SessionMachine.toys

    @property
    def plan_names(self) -> set[str]:
        return {self.plans} if isinstance(self.plans, str) else set(self.plans.values())


CASES = {
    "native": Case("native"),
    "fused": Case("fused"),
    "ort": Case("ort", PLAIN),
    "one for each shape": Case(
        {
            "1x1": "native",
            "1x4": "fused",
            "2x1": "onednn_lstm",
            "2x4": "ort",
            "4x1": "fused",
            "4x4": "native",
            "4x4 ragged": "segments",
        },
        ("lstm", FED.name),
    ),
}


class WireMachine(SessionMachine):
    """What the engine does by hand it does here on its own thread, held by a stepper; now and then it runs free."""

    def __init__(self, held_server: HeldServer, toys: tuple[str, ...]) -> None:
        super().__init__()
        self.held_server = held_server
        self.toys = toys

    def make_engine(self, toy: Toy) -> WireEngine:
        self.wire = WireEngine(self.held_server, toy)
        return self.wire

    def teardown(self) -> None:
        failure = sys.exc_info()[1]
        if isinstance(failure, Exception):
            self.held_server.failure = failure
        else:
            super().teardown()

    @rule()
    def run_free(self) -> None:
        self.wire.let_go()
        self.wire.hold()
        self.compare(in_order=False)
        assert not self.expected.num_queued

    @rule(frames=FRAMES)
    def send_and_run_free(self, frames: list[FrameRequest]) -> None:
        self.run_free()
        for wanted in frames:
            self.send_one(wanted)
        self.run_free()
        self.expected.assert_all_taken_in()

    @rule(generated_requests=st.lists(REQUESTS, min_size=1, max_size=5), which=st.integers(0, 2))
    def ask_one_by_one(self, generated_requests: list[FrameRequest], which: int) -> None:
        self.run_free()
        self.wire.let_go()
        for wanted in generated_requests:
            self.send_one(replace(wanted, sink=which))
            self.wire.wait_for(self.listeners[which])
            self.compare(in_order=False)
            self.expected.assert_all_taken_in()
        self.wire.hold()

    @rule(
        ids=st.sets(st.sampled_from(IDS), min_size=1),
        steps=st.lists(st.integers(0, MAX_STEPS), min_size=1, max_size=4),
        wanted=REQUESTS,
        which=st.integers(0, 2),
        answered=st.integers(0, 2),
    )
    def cut_while_it_runs(
        self, ids: set[str], steps: list[int], wanted: FrameRequest, which: int, answered: int
    ) -> None:
        self.run_free()
        mine, others = self.expected.sessions.keys() & ids, self.expected.sessions.keys() - ids
        leaving = self.listeners[which]
        self.wire.let_go()
        for count in steps:
            self.send_one(self._chunks(mine, count, replace(wanted, sink=which)))
            self.send_one(self._chunks(others, count, replace(wanted, sink=(which + 1) % 3)))
        self.wire.cut(leaving, answered)
        self.wire.hold()
        self.compare(in_order=False)
        self.listeners[which] = self.wire.listener()
        self.expected.assert_all_taken_in()
        self._follow(sorted(mine))

    def _chunks(self, ids: Collection[str], steps: int, wanted: FrameRequest) -> FrameRequest:
        # The next chunk of each, some long enough to be cut while they run.
        rows = {i: RowRequest("next", 0, 1 + (steps + 7 * k) % MAX_STEPS) for k, i in enumerate(sorted(ids))}
        is_broken = any(self.expected.sessions[session_id].broken for session_id in rows)
        return replace(wanted, rows=rows, named=wanted.named or is_broken, timeout=math.inf)

    def _follow(self, ids: list[str]) -> None:
        # What the caller who was cut off does: attaches, and goes on from the positions that it is told.
        if not ids:
            return
        opened = self.wire.attach(*ids)
        for session_id, position in zip(ids, opened.positions, strict=True):
            self.expected.follow(self.expected.sessions[session_id], position)
        self.expected.opened(opened, OpenMode.RESUME, self.wire.positions())


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    case: Case = CASES[request.param]
    if "ort" in case.plan_names:
        pytest.importorskip("onnxruntime")
    return case


@pytest.fixture
def held_server(case: Case, tmp_path: Path) -> Iterator[HeldServer]:
    held_server = HeldServer(write_toys(tmp_path, set(case.toys)), case.plans, Limits(**LIMITS))
    yield held_server
    held_server.end()


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_sessions_agree_with_torch_over_grpc(
    case: Case, held_server: HeldServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "SLICE", SLICE)
    try:
        run_state_machine_as_test(lambda: WireMachine(held_server, case.toys), settings=SETTINGS)  # type: ignore[arg-type]
    except Flaky as flaky:  # of what happens only now and then Hypothesis tells no more than that
        raise flaky from held_server.failure
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert case.plan_names <= held_server.plans_that_ran()
