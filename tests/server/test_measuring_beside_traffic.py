"""Plans measured while the server serves: apart, not kept where there was traffic, measured again when quiet."""

import asyncio
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from stepped_engine import SteppedEngine
from toys import CPU, toy, write_toys

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

from graph_cases import graph_weights, make_network
from graph_networks import NoiseSuppression

from elman_models import write_bundle
from elman_models.fingerprint import fingerprint
from elman_models.graph.stack import GraphStack
from elman_models.plans import apart
from elman_models.plans.apart import ApartError, Request, measure_apart
from elman_models.plans.cache import PlanCache
from elman_models.plans.prepare import Measuring
from elman_models.plans.table import ORT_GRAPH, PROGRAM, WHOLE_GRAPH, Entry, PlanTable, PlanTables, Shape
from elman_models.stack import Stack
from elman_server.config.server_config import ServerConfig
from elman_server.models import loading
from elman_server.models.loading import Preparation
from elman_server.models.remeasuring import MAX_ATTEMPTS, QUIET_SECONDS, Plans, Remeasuring
from elman_server.models.traffic import Traffic
from elman_server.telemetry.metrics import Metrics

ENTRIES = {Shape(1, 1): Entry("native", {"native": 0.5}), Shape(4, 4, True): Entry("segments", {"segments": 0.25})}


def request_of(bundle: Path, **fields: object) -> Request:
    given = {"bundle": bundle, "fingerprint": fingerprint(bundle), "threads": 1, "budget_seconds": 0.01}
    return Request.model_validate(given | fields)


def test_a_process_of_its_own_gives_the_table_and_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[str] = []
    bundle = write_toys(tmp_path, ["gru"]) / "gru"
    entries = measure_apart(request_of(bundle), lambda done, of, shape: told.append(shape))
    assert {shape.is_ragged for shape in entries} == {False, True}
    assert {str(shape) for shape in entries} == set(told)


def write_graph(folder: Path) -> Path:
    """A bundle with three recurrences."""
    network, stack = make_network(NoiseSuppression)
    return write_bundle(folder / "noise", stack.spec, graph_weights(stack.spec, network))


def test_a_graphs_recurrence_is_measured_in_a_process_of_its_own_too(tmp_path: Path) -> None:
    bundle = write_graph(tmp_path)
    entries = measure_apart(request_of(bundle, node="noise"))
    assert {shape.is_ragged for shape in entries} == {False, True}
    with pytest.raises(ApartError, match="gave no table"):
        measure_apart(request_of(bundle, node="nothing"))


def test_each_of_a_graphs_tables_is_measured_apart_kept_and_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    of_whole = {Shape(1, 1): Entry(ORT_GRAPH, {ORT_GRAPH: 0.5}), Shape(1, 1, True): Entry(PROGRAM)}
    asked: list[Request] = []
    traffic = Traffic(Metrics())
    traffic.is_served = True

    def measured(request: Request, _: object) -> dict[Shape, Entry]:
        asked.append(request)
        return of_whole if request.node == WHOLE_GRAPH else ENTRIES

    monkeypatch.setattr(loading, "measure_apart", measured)
    bundle = write_graph(tmp_path / "models")
    prepare = Preparation(ServerConfig(models=tmp_path, cache=tmp_path, warm_up_seconds=7), CPU, traffic)
    stack = prepare(bundle)
    budgets = {"vad": 2, "noise": 2, "denoise": 2, WHOLE_GRAPH: 1}
    assert {request.node: request.budget_seconds for request in asked} == budgets
    assert {request.fingerprint for request in asked} == {fingerprint(bundle)}
    assert isinstance(stack.plans, PlanTables)
    assert {name: table.entries for name, table in stack.plans.items()} == {
        name: of_whole if name == WHOLE_GRAPH else ENTRIES for name in budgets
    }
    assert not stack.plans.is_provisional
    prepare(bundle)
    assert len(asked) == len(budgets)
    traffic.since = lambda _: lambda: False  # type: ignore[method-assign,assignment]
    assert Preparation(ServerConfig(models=tmp_path, cache=None), CPU, traffic)(bundle).plans.is_provisional


def test_a_bundle_that_was_changed_since_is_not_measured(tmp_path: Path) -> None:
    bundle = write_toys(tmp_path, ["gru"]) / "gru"
    with pytest.raises(ApartError, match="gave no table"):
        measure_apart(request_of(bundle, fingerprint="another"))


def test_what_progress_raises_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[apart.subprocess.Popen[str]] = []
    popen = apart.subprocess.Popen

    def keep(*args: object, **named: object) -> object:
        begun.append(popen(*args, **named))  # type: ignore[call-overload]
        return begun[-1]

    monkeypatch.setattr(apart.subprocess, "Popen", keep)
    bundle = write_toys(tmp_path, ["gru"]) / "gru"
    with pytest.raises(ZeroDivisionError):
        measure_apart(request_of(bundle, budget_seconds=100_000), lambda *_: 1 / 0)  # type: ignore[arg-type,return-value]
    assert begun[0].returncode is not None


def test_the_process_ends_with_the_one_that_asked(tmp_path: Path) -> None:
    request = request_of(write_toys(tmp_path, ["gru"]) / "gru", budget_seconds=100_000)
    with apart._child() as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(request.model_dump_json() + "\n")
        process.stdin.flush()
        assert process.stdout.readline()
        process.stdin.close()  # as the parent's end would
        assert process.wait(60) == 1


class Prepared:
    """A preparation for a server under way, and how often its plans were measured apart and how."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, during: Callable[[Traffic], None]) -> None:
        self.metrics = Metrics()
        self.traffic = Traffic(self.metrics)
        self.traffic.is_served = True
        self.bundle = write_toys(folder / "models", ["gru"]) / "gru"
        self.cache = folder / "cache"
        self.num_apart = 0

        def measured(*_: object) -> dict[Shape, Entry]:
            self.num_apart += 1
            during(self.traffic)
            return ENTRIES

        monkeypatch.setattr(loading, "measure_apart", measured)
        config = ServerConfig(models=folder, cache=self.cache, warm_up_seconds=0.01)
        self.prepare = Preparation(config, CPU, self.traffic)

    def run_batches(self, seconds: float) -> None:
        self.metrics.of("other", "1").compute_seconds.observe(seconds)

    def kept(self) -> list[Path]:
        return list(self.cache.glob("plans/*.json"))


def test_what_was_measured_in_quiet_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = Prepared(tmp_path, monkeypatch, lambda _: None)
    stack = prepared.prepare(prepared.bundle)
    assert stack.plans.entries == ENTRIES
    assert not stack.plans.is_provisional
    assert len(prepared.kept()) == 1
    prepared.prepare(prepared.bundle)
    assert prepared.num_apart == 1


def test_what_was_measured_beside_traffic_is_used_and_marked_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prepared = Prepared(tmp_path, monkeypatch, lambda _: prepared.run_batches(1000.0))
    with caplog.at_level(logging.WARNING):
        stack = prepared.prepare(prepared.bundle)
    assert stack.plans.entries == ENTRIES
    assert stack.plans.is_provisional
    assert prepared.kept() == []
    assert "measured beside traffic" in caplog.text


def test_where_no_process_can_be_had_plans_are_measured_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(apart.sys, "executable", str(tmp_path / "no-python"))
    traffic = Traffic(Metrics())
    traffic.is_served = True
    bundle = write_toys(tmp_path / "models", ["gru"]) / "gru"
    config = ServerConfig(models=bundle, cache=None, warm_up_seconds=0.01)
    stack = Preparation(config, CPU, traffic)(bundle)
    assert stack.plans.entries
    assert "no process could be begun" in caplog.text


def copy_of(table: PlanTable, is_provisional: bool) -> PlanTable:
    return PlanTable(table.plans, table.entries, is_provisional=is_provisional)


class Quiet:
    """A model whose plans are to be measured again, beside an engine driven by hand."""

    def __init__(self, *provisional: bool, model: Any = None) -> None:
        self.engine = SteppedEngine(model or toy("gru"))
        self.traffic = Traffic(self.engine.metrics)
        self.tables = [self._table(one) for one in provisional]
        self.num_measured = 0
        self.again = Remeasuring(self.engine.engine, self.traffic, self._measure)
        self.again._engine = self  # type: ignore[assignment]
        self.again.add(self.engine.runtime, Path("gru"))

    async def call(self, function: Callable[[], None]) -> None:
        """Stands for the engine."""
        function()

    async def pass_time(self, seconds: float, busy: bool = False) -> None:
        """Looks twice a second, and lets what was begun end."""
        for _ in range(int(seconds * 2)):
            self.engine.clock.time += 0.5
            if busy:
                self.engine.runtime.metrics.compute_seconds.observe(0.1)
            self.again.look(self.engine.clock.now())
            await asyncio.sleep(0)
            if self.again._task:
                await asyncio.wait({self.again._task})

    def _table(self, is_provisional: bool) -> Plans:
        plans = self.engine.runtime.stack.plans
        if isinstance(plans, PlanTables):
            return PlanTables({node: copy_of(table, is_provisional) for node, table in plans.items()})
        return copy_of(plans, is_provisional)

    def _measure(self, _: Stack | GraphStack, __: Path) -> Plans:
        self.num_measured += 1
        return self.tables[self.num_measured - 1]


async def test_once_it_is_quiet_plans_are_measured_again_and_taken() -> None:
    quiet = Quiet(False)
    await quiet.pass_time(60, busy=True)
    assert quiet.num_measured == 0
    await quiet.pass_time(QUIET_SECONDS + 1)
    assert quiet.num_measured == 1
    assert quiet.engine.runtime.stack.plans is quiet.tables[0]
    await quiet.pass_time(60)
    assert quiet.num_measured == 1


async def test_a_graph_takes_the_tables_of_all_its_recurrences() -> None:
    _, stack = make_network(NoiseSuppression)
    quiet = Quiet(True, False, model=SimpleNamespace(spec=stack.spec, stack=lambda _: stack))
    await quiet.pass_time(60)
    assert quiet.num_measured == 2
    given = quiet.tables[1]
    assert isinstance(given, PlanTables)
    assert list(given) == ["vad", "noise", "denoise"]
    assert all(stack.recurrence(node).plans is table for node, table in given.items())


async def test_plans_that_traffic_spoils_again_and_again_are_given_up_on(caplog: pytest.LogCaptureFixture) -> None:
    quiet = Quiet(*[True] * (MAX_ATTEMPTS + 1))
    before = quiet.engine.runtime.stack.plans
    await quiet.pass_time(60)
    assert quiet.num_measured == MAX_ATTEMPTS
    assert quiet.engine.runtime.stack.plans is before
    assert "stay as they are" in caplog.text


async def test_a_model_that_is_being_unloaded_is_not_measured_again() -> None:
    quiet = Quiet(False)
    quiet.engine.runtime.unloading = True
    await quiet.pass_time(60)
    assert quiet.num_measured == 0


def test_a_table_that_is_measured_elsewhere_is_kept_under_the_stacks_own_key(tmp_path: Path) -> None:
    stack, cache = toy("gru").stack(), PlanCache(tmp_path)
    with torch.inference_mode():
        stack.measured(Measuring(cache=cache, measure=lambda _: ENTRIES), budget_seconds=1)
    stack.warm_up(lambda *_: pytest.fail("nothing is to be measured"), cache=cache)
    assert stack.plans.entries == ENTRIES
