"""The plan table: nearest shape, expected time, and what people read."""

import pytest
import torch
from plan_cases import CountingPlan
from recurrent_cases import CPU, make_model, make_spec, pack

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
    assert table.choose(Shape(rows, steps, is_ragged).batch_sizes).name == plan
    assert table.choose(Shape(rows, steps, is_ragged).batch_sizes).name == plan


def test_powers_of_two_and_their_neighbours_share_an_entry() -> None:
    table = make_table({Shape(1 << power, 1): str(1 << power) for power in range(9)})
    chosen = {
        n: table.choose(Shape(n, 1).batch_sizes).name for n in (1, 2, 3, 5, 6, 8, 11, 12, 23, 24, 31, 33, 200, 256)
    }
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
    entries = {
        Shape(8, 1): Entry("b", {"a": 3e-4, "b": 1e-4}),
        Shape(9, 1): Entry("b", {"a": 3e-4}),
        Shape(8, 4, True): Entry("a"),
    }
    text = PlanTable({"a": CountingPlan("a"), "b": CountingPlan("b")}, entries).describe().splitlines()
    assert text[1].split() == ["8x1", "b", "100", "80,000", "a", "300"]
    assert text[2].split() == ["9x1", "b", "not", "measured", "a", "300"]
    assert text[3].split() == ["8x4", "ragged", "a", "not", "measured"]
    assert len(text) == 4


def test_before_warm_up_the_module_itself_runs_everything() -> None:
    _, stack = make_model(make_spec("lstm"))
    assert stack.device == CPU
    assert stack.plan_name == ""
    stack.step(pack([torch.zeros(2, 4), torch.zeros(1, 4)]), stack.initial_state(2))
    assert stack.plan_name == "native"
