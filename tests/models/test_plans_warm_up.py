"""Warm-up: measures within its budget, leaves broken plans out, and keeps its table on disk."""

import json
import logging
from math import inf
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

import pytest
import torch
from plan_cases import CountingPlan, make_factory, make_tame_model
from recurrent_cases import CELLS, CPU, assert_near, make_model, make_spec, pack, random_input

from elman_models import Packed, Stack, State
from elman_models.plans.cache import PlanCache, cache_key
from elman_models.plans.candidates import Candidate, default_plan
from elman_models.plans.factory import PlanFactory
from elman_models.plans.measure import Effort, interleaved, stopwatch
from elman_models.plans.table import Entry, Shape
from elman_models.plans.warm_up import RAGGED, UNIFORM, WarmUp, _best

KEY = {"machine": "this one"}
ENTRIES = {Shape(1, 1): Entry("native", {"native": 0.5}), Shape(4, 4, True): Entry("segments", {"segments": 0.25})}


class BrokenPlan(CountingPlan):
    def run(self, input: Packed, state: State) -> tuple[torch.Tensor, State]:
        raise RuntimeError("no such instruction")


class OffPlan(CountingPlan):
    """The module's answer, a little off."""

    def __init__(self, stack: Stack, error: float) -> None:
        super().__init__("off")
        self._plan = default_plan(stack.rnn)
        self._error = error

    def run(self, input: Packed, state: State) -> tuple[torch.Tensor, State]:
        output, after = self._plan.run(input, state)
        return output + self._error, after


def with_candidate(factory: PlanFactory, plan: CountingPlan) -> PlanFactory:
    factory.candidates[plan.name] = Candidate(plan.name, lambda: plan, takes_ragged=True)
    return factory


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_every_shape_is_measured_and_told_in_turn(cell: str) -> None:
    _, stack = make_model(make_spec(cell))
    told: list[tuple[int, int, str]] = []
    stack.warm_up(lambda done, total, shape: told.append((done, total, shape)), budget_seconds=60)
    assert set(stack.plans.entries) == {*UNIFORM, *RAGGED}
    assert [done for done, _, _ in told] == list(range(len(UNIFORM) + len(RAGGED)))
    assert {total for _, total, _ in told} == {len(told)}
    assert all(entry.plan in entry.seconds for entry in stack.plans.entries.values())


def test_a_warmed_stack_gives_what_it_gave_before() -> None:
    torch.manual_seed(9)
    spec = make_spec("lstm", num_layers=2, parts=True)
    _, stack = make_model(spec)
    packed, state = pack([random_input(spec, n) for n in (7, 7, 2)]), stack.initial_state(3)
    want, after = stack.step(packed, state)
    stack.warm_up(budget_seconds=0.5)
    got, now = stack.step(packed, state)
    assert_near(got, want)
    assert_near(now.c, after.c)


def test_no_budget_still_gives_a_table_with_something_for_everything() -> None:
    _, stack = make_model(make_spec("gru"))
    stack.warm_up(lambda *_: pytest.fail("nothing is to be measured"), budget_seconds=0.0)
    assert len(stack.plans.entries) == 2
    assert stack.plans.choose(Shape(1000, 1000).batch_sizes)
    assert stack.plans.choose(Shape(1000, 1000, is_ragged=True).batch_sizes)


def test_of_a_model_with_one_plan_it_is_known_how_long_a_batch_takes() -> None:
    _, stack = make_model(make_spec("gru", bidirectional=True))
    stack.warm_up(budget_seconds=0.05)
    assert stack.plans.names == ["native"]
    assert all(entry.seconds["native"] < 1 for entry in stack.plans.entries.values())


def test_a_plan_that_fails_or_is_wrong_is_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    spec = make_spec("gru", input_size=5)
    _, stack = make_model(spec)
    factory = with_candidate(with_candidate(make_factory(stack), BrokenPlan("broken")), CountingPlan("wrong"))
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        entries = WarmUp(spec, CPU, factory, budget_seconds=0.0).measure()
    assert all({"broken", "wrong"}.isdisjoint(entry.seconds) for entry in entries.values())
    assert "no such instruction" in caplog.text
    assert "wrong of model m is left out: it is" in caplog.text


@pytest.mark.parametrize(("error", "is_left_out"), [(2e-5, False), (3e-4, True)])
def test_a_plan_that_is_further_off_than_float32_rounds_is_left_out(error: float, is_left_out: bool) -> None:
    spec = make_spec("gru")
    _, stack = make_model(spec)
    factory = with_candidate(make_factory(stack), OffPlan(stack, error))
    with torch.inference_mode():
        WarmUp(spec, CPU, factory, budget_seconds=0.0).measure()
    assert ("off" not in factory.candidates) is is_left_out


@pytest.mark.parametrize(
    "fields", [{"input_size": 4096, "hidden_size": 16}, {"hidden_size": 512, "num_layers": 4}], ids=str
)
@pytest.mark.parametrize("cell", CELLS)
def test_no_plan_is_left_out_for_rounding(cell: str, fields: dict[str, Any]) -> None:
    torch.manual_seed(3)
    spec = make_spec(cell, **fields)
    _, stack = make_tame_model(spec)
    factory = make_factory(stack)
    names = list(factory.candidates)
    with torch.inference_mode():
        WarmUp(spec, CPU, factory, budget_seconds=0.0)._drop_broken()
    assert list(factory.candidates) == names


def test_a_broken_plan_that_was_chosen_by_hand_is_refused() -> None:
    spec = make_spec("gru")
    _, stack = make_model(spec)
    factory = with_candidate(make_factory(stack), BrokenPlan("broken"))
    warm_up = WarmUp(spec, CPU, factory, budget_seconds=1.0, only={False: "broken", True: "native"})
    with torch.inference_mode(), pytest.raises(ValueError, match=r"'broken' of model m is broken.*no such instruction"):
        warm_up.measure()


def test_only_plans_that_are_close_are_looked_at_again_and_the_faster_moment_is_believed() -> None:
    spec = make_spec("gru")
    _, stack = make_model(spec)
    plans = {name: CountingPlan(name) for name in ("first", "near", "far")}
    close, alone = Shape(2, 1), Shape(4, 1)
    entries = {
        close: Entry("first", {"first": 1.0, "near": 1.2, "far": 2.0}),
        alone: Entry("first", {"first": 1.0, "far": 2.0}),
    }
    warm_up = WarmUp(spec, CPU, make_factory(stack), budget_seconds=0.0)
    looked = warm_up._looked_again(plans, entries, deadline=inf)
    assert looked[alone] == entries[alone]
    assert looked[close].seconds["first"] < 1
    assert looked[close].seconds["near"] < 1
    assert looked[close].seconds["far"] == 2.0
    assert not plans["far"].shapes
    assert warm_up._looked_again(plans, entries, deadline=0.0) == entries


@pytest.mark.parametrize(("near", "best"), [(1.02, "near"), (1.05, "first")])
def test_of_plans_that_are_as_good_as_equal_the_first_candidate_is_taken(near: float, best: str) -> None:
    assert _best({"slow": 1.3, "near": near, "first": 1.0, "last": 1.01}) == best


def test_a_slower_run_loses_and_a_hopeless_one_is_not_run_again() -> None:
    calls = {"fast": 0, "slow": 0, "hopeless": 0}
    clock = 0.0

    def spend(name: str, seconds: float) -> None:
        nonlocal clock
        calls[name] += 1
        clock += seconds

    runs = {
        "fast": lambda: spend("fast", 0.002),
        "slow": lambda: spend("slow", 0.003),
        "hopeless": lambda: spend("hopeless", 0.2),
    }
    seconds = interleaved(runs, lambda: clock, Effort(give_up_factor=5))
    assert seconds == pytest.approx({"fast": 0.002, "slow": 0.003, "hopeless": 0.2})
    assert calls["hopeless"] == 3
    assert calls["fast"] > 3


def test_a_table_is_measured_once_and_read_afterwards(tmp_path: Path) -> None:
    spec, cache = make_spec("lstm"), PlanCache(tmp_path / "new" / "plans")
    _, stack = make_model(spec)
    stack.warm_up(cache=cache, budget_seconds=0.2)
    _, other = make_model(spec.model_copy(update={"name": "another"}))
    other.warm_up(lambda *_: pytest.fail("nothing is to be measured"), cache=cache)
    assert other.plans.entries == stack.plans.entries


def test_a_table_that_is_kept_can_be_measured_again_and_is_replaced(tmp_path: Path) -> None:
    PlanCache(tmp_path).write(KEY, ENTRIES)
    cache = PlanCache(tmp_path, again=True)
    assert cache.read(KEY) is None
    cache.write(KEY, {Shape(2, 2): Entry("native")})
    assert PlanCache(tmp_path).read(KEY) == {Shape(2, 2): Entry("native")}


def test_entries_come_back_as_they_were_kept(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    cache.write(KEY, ENTRIES)
    assert cache.read(KEY) == ENTRIES
    assert cache.read({"machine": "another one"}) is None
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": {}, "entries": []}', "\x00\xff"])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    cache = PlanCache(tmp_path)
    cache.write(KEY, ENTRIES)
    next(tmp_path.iterdir()).write_text(text)
    assert cache.read(KEY) is None


@pytest.mark.parametrize(("field", "value"), [("plan", "nothing"), ("rows", 0), ("seconds", {"native": -1}), ("x", 1)])
def test_a_kept_table_that_cannot_be_is_measured_anew(tmp_path: Path, field: str, value: object) -> None:
    spec, cache = make_spec("gru"), PlanCache(tmp_path)
    _, stack = make_model(spec)
    stack.warm_up(cache=cache, budget_seconds=0.01)
    path = next(tmp_path.iterdir())
    page = json.loads(path.read_text())
    page["entries"][0][field] = value
    path.write_text(json.dumps(page))
    told: list[str] = []
    stack.warm_up(lambda done, total, shape: told.append(shape), cache=cache, budget_seconds=0.01)
    assert told


def test_a_folder_that_cannot_be_written_costs_nothing_but_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    _, stack = make_model(make_spec("gru"))
    stack.warm_up(cache=PlanCache(tmp_path / "file"), budget_seconds=0.01)
    assert stack.plans.entries
    assert "is not kept" in caplog.text


def test_the_key_tells_models_sizes_precisions_and_threads_apart() -> None:
    spec = make_spec("lstm")
    others = [{"hidden_size": 6}, {"precision": "bfloat16"}, {"num_layers": 2}, {"proj_size": 2}, {"bias": False}]
    keys = [cache_key(make_spec("lstm", **fields), CPU) for fields in others]
    assert all(key != cache_key(spec, CPU) for key in keys)
    assert cache_key(spec.model_copy(update={"name": "n", "description": "d"}), CPU) == cache_key(spec, CPU)
    before = torch.get_num_threads()
    try:
        key = cache_key(spec, CPU)
        torch.set_num_threads(before + 1)
        assert cache_key(spec, CPU) != key
    finally:
        torch.set_num_threads(before)


def test_the_users_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path))
    PlanCache.of_user().write(KEY, ENTRIES)
    assert list(tmp_path.glob("plans/*.json"))
    monkeypatch.delenv("ELMAN_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    PlanCache.of_user().write(KEY, ENTRIES)
    assert list(tmp_path.glob("home/.cache/elman/plans/*.json"))


def test_without_onnxruntime_its_plan_is_no_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elman_models.plans.candidates.has_ort", lambda: False)
    _, stack = make_model(make_spec("lstm"))
    assert "ort" not in make_factory(stack).candidates


def test_one_thread_is_timed_by_its_own_clock() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert stopwatch(CPU) is thread_time
        torch.set_num_threads(2)
        assert stopwatch(CPU) is perf_counter
    finally:
        torch.set_num_threads(before)
