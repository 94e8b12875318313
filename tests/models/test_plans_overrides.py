"""Plans chosen by hand: for everything or by shape, with the times that are known of them."""

from pathlib import Path

import pytest
from plan_cases import make_factory
from recurrent_cases import make_model, make_spec, pack, random_input

from elman_models.plans.cache import PlanCache
from elman_models.plans.overrides import by_shape, forced, put_over
from elman_models.plans.table import Entry, Shape
from elman_models.plans.warm_up import RAGGED, UNIFORM


def nothing_told(*_: object) -> None:
    pytest.fail("nothing is to be measured")


def test_one_plan_can_be_forced_on_everything() -> None:
    spec = make_spec("gru")
    _, stack = make_model(spec)
    stack.warm_up(overrides="native")
    for lengths in ([3, 1], [2, 2]):
        stack.step(pack([random_input(spec, n) for n in lengths]), stack.initial_state(2))
        assert stack.plan_name == "native"
    assert stack.plans.names == ["native"]


def test_a_plan_for_equally_long_rows_runs_ragged_ones_in_segments_when_forced() -> None:
    pytest.importorskip("onnxruntime")
    spec = make_spec("gru")
    _, stack = make_model(spec)
    stack.warm_up(overrides="ort")
    stack.step(pack([random_input(spec, 3), random_input(spec, 1)]), stack.initial_state(2))
    assert stack.plan_name == "segments"


def test_a_forced_plan_of_a_bidirectional_model_leaves_ragged_rows_to_the_default_one() -> None:
    _, stack = make_model(make_spec("lstm", bidirectional=True))
    assert forced(make_factory(stack), "onednn") == {False: "onednn", True: "native"}


def test_a_plan_can_be_chosen_by_hand_for_one_shape() -> None:
    _, stack = make_model(make_spec("lstm"))
    stack.warm_up(budget_seconds=0.0, overrides={"256x16": "fused", "8x4 ragged": "native"})
    assert stack.plans.choose(Shape(300, 16).batch_sizes).name == "fused"
    assert stack.plans.choose(Shape(9, 4, is_ragged=True).batch_sizes).name == "native"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"8": "native"}, "expected rows x steps"),
        ({"0x1": "native"}, "expected rows x steps"),
        ({"8x1": "nothing"}, "no plan 'nothing'.*there are native"),
        ({"8x1 ragged": "onednn_lstm"}, "ragged batches"),
    ],
)
def test_an_override_that_cannot_be_is_refused_by_what_is_wrong(overrides: dict[str, str], message: str) -> None:
    _, stack = make_model(make_spec("lstm"))
    with pytest.raises(ValueError, match=message):
        by_shape(make_factory(stack), overrides)


def test_a_forced_plan_that_does_not_exist_is_refused_and_the_table_stays() -> None:
    _, stack = make_model(make_spec("lstm"))
    with pytest.raises(ValueError, match="no plan 'nothing'"):
        stack.warm_up(overrides="nothing")
    assert stack.plans.names == ["native"]


def test_a_forced_plan_is_measured_and_no_other(tmp_path: Path) -> None:
    spec, cache = make_spec("gru"), PlanCache(tmp_path)
    _, stack = make_model(spec)
    stack.warm_up(overrides="native", cache=cache, budget_seconds=60)
    assert set(stack.plans.entries) == {*UNIFORM, *RAGGED}
    assert all(list(entry.seconds) == [entry.plan] == ["native"] for entry in stack.plans.entries.values())
    _, other = make_model(spec)
    other.warm_up(nothing_told, overrides="native", cache=cache)
    assert other.plans.entries == stack.plans.entries


def test_the_table_of_a_forced_plan_is_kept_apart_from_the_models_own(tmp_path: Path) -> None:
    spec, cache = make_spec("lstm"), PlanCache(tmp_path)
    _, stack = make_model(spec)
    stack.warm_up(overrides="fused", cache=cache, budget_seconds=0.05)
    stack.warm_up(cache=cache, budget_seconds=0.05)
    assert {"native", "fused"} <= set(stack.plans.entries[Shape(1, 1)].seconds)
    stack.warm_up(overrides="fused", cache=cache)
    assert stack.plans.names == ["fused"]


def test_what_was_measured_of_a_shape_stays_when_its_plan_is_chosen_by_hand(tmp_path: Path) -> None:
    spec, cache = make_spec("lstm"), PlanCache(tmp_path)
    _, stack = make_model(spec)
    stack.warm_up(cache=cache, budget_seconds=0.2)
    measured = stack.plans.entries[Shape(1, 1)]
    other = next(name for name in measured.seconds if name != measured.plan)
    for budget_seconds in (0.0, 0.2):
        stack.warm_up(nothing_told, cache=cache, budget_seconds=budget_seconds, overrides={"1x1": other})
        assert stack.plans.entries[Shape(1, 1)] == Entry(other, measured.seconds)


def test_a_plan_chosen_by_hand_where_nothing_was_measured_runs_there() -> None:
    _, stack = make_model(make_spec("lstm"))
    stack.warm_up(budget_seconds=0.05, overrides={"4096x1": "fused"})
    assert stack.plans.entries[Shape(4096, 1)] == Entry("fused")


@pytest.mark.parametrize("overrides", ["native", {"8x1": "fused"}])
def test_without_a_budget_nothing_is_measured_and_nothing_kept(tmp_path: Path, overrides: str | dict[str, str]) -> None:
    _, stack = make_model(make_spec("lstm"))
    stack.warm_up(nothing_told, cache=PlanCache(tmp_path), budget_seconds=0.0, overrides=overrides)
    assert not any(entry.seconds for entry in stack.plans.entries.values())
    assert not list(tmp_path.iterdir())


def test_a_plan_chosen_by_hand_that_was_left_out_as_broken_is_refused() -> None:
    _, stack = make_model(make_spec("lstm"))
    factory = make_factory(stack)
    by_hand = by_shape(factory, {"8x1": "fused"})
    factory.drop("fused")
    with pytest.raises(ValueError, match="no plan 'fused'"):
        put_over(factory, by_hand, {Shape(1, 1): Entry("native")})
