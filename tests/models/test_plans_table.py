"""The plan table: nearest shape, overrides, and what people read."""

import pytest
import torch
from plan_cases import CountingPlan, make_workshop
from recurrent_cases import CPU, make_model, make_spec, pack, random_input

from elman_models.plans.overrides import by_shape, forced
from elman_models.plans.table import Entry, PlanTable, Shape


def make_table(entries: dict[Shape, str]) -> PlanTable:
    plans = {name: CountingPlan(name) for name in entries.values()}
    return PlanTable(plans, {shape: Entry(name) for shape, name in entries.items()})


@pytest.mark.parametrize(
    ("rows", "steps", "is_ragged", "plan"),
    [
        (1, 1, False, "small"),
        (2, 3, False, "small"),
        (31, 1, False, "wide"),
        (5000, 1, False, "wide"),
        (1, 100_000, False, "long"),
        (5000, 3, True, "ragged"),
    ],
)
def test_a_shape_that_was_not_measured_runs_as_the_nearest_that_was(
    rows: int, steps: int, is_ragged: bool, plan: str
) -> None:
    shapes = {Shape(1, 1): "small", Shape(64, 1): "wide", Shape(1, 64): "long", Shape(4, 4, True): "ragged"}
    table = make_table(shapes)
    assert table.choose(rows, steps, is_ragged).name == plan
    assert table.choose(rows, steps, is_ragged).name == plan


def test_powers_of_two_and_their_neighbours_share_an_entry() -> None:
    table = make_table({Shape(1 << power, 1): str(1 << power) for power in range(9)})
    chosen = {rows: table.choose(rows, 1).name for rows in (1, 2, 3, 5, 6, 8, 11, 12, 23, 24, 31, 33, 200, 256)}
    assert chosen == {
        **{1: "1", 2: "2", 3: "4", 5: "4", 6: "8", 8: "8", 11: "8", 12: "16", 23: "16"},
        **{24: "32", 31: "32", 33: "32", 200: "256", 256: "256"},
    }


def test_a_measured_ragged_shape_falls_evenly_from_its_steps_to_one() -> None:
    assert Shape(4, 4, True).lengths == [4, 3, 2, 1]
    assert Shape(2, 16, True).lengths == [16, 8]
    assert Shape(4, 4, True).row_steps == 10
    assert Shape(3, 2).row_steps == 6


def test_the_printed_table_names_each_shape_its_plan_and_times() -> None:
    entries = {Shape(8, 1): Entry("b", {"a": 3e-4, "b": 1e-4}), Shape(8, 4, True): Entry("a")}
    text = PlanTable({"a": CountingPlan("a"), "b": CountingPlan("b")}, entries).describe().splitlines()
    assert text[1].split() == ["8x1", "b", "100", "80,000", "a", "300"]
    assert text[2].split() == ["8x4", "ragged", "a", "not", "measured"]
    assert len(text) == 3


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
    entries = forced(make_workshop(stack), "onednn")
    assert {shape.is_ragged: entry.plan for shape, entry in entries.items()} == {False: "onednn", True: "native"}


def test_a_plan_can_be_chosen_by_hand_for_one_shape() -> None:
    _, stack = make_model(make_spec("lstm"))
    stack.warm_up(budget_seconds=0.0, overrides={"256x16": "fused", "8x4 ragged": "native"})
    assert stack.plans.choose(300, 16).name == "fused"
    assert stack.plans.choose(9, 4, is_ragged=True).name == "native"


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
        by_shape(make_workshop(stack), overrides)


def test_a_forced_plan_that_does_not_exist_is_refused_and_the_table_stays() -> None:
    _, stack = make_model(make_spec("lstm"))
    with pytest.raises(ValueError, match="no plan 'nothing'"):
        stack.warm_up(overrides="nothing")
    assert stack.plans.names == ["native"]


def test_before_warm_up_the_module_itself_runs_everything() -> None:
    _, stack = make_model(make_spec("lstm"))
    assert stack.device == CPU
    assert stack.plan_name == ""
    stack.step(pack([torch.zeros(2, 4), torch.zeros(1, 4)]), stack.initial_state(2))
    assert stack.plan_name == "native"
